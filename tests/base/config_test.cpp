#include "base/config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "base/config_fixture.h"
#include "base/strict_json.h"

namespace ssmax {
namespace {

using fixture::RunConfig;

// A member that fields() forgets must not compile; the trait behind that check, on small structs.
struct Forgets {
  int a = 0;
  int b = 0;
  static constexpr auto fields() { return std::tuple(base::field("a", &Forgets::a, "")); }
};
struct Nested {
  std::string text;
  std::vector<std::string> list;
  Forgets inner;
  base::KindSection kinds{&fixture::kinds, "plain"};
};
struct OneSection {
  fixture::Plain plain;
};
static_assert(base::lists_every_member<RunConfig>);
static_assert(base::lists_every_member<fixture::Plain>);
static_assert(!base::lists_every_member<Forgets>);
static_assert(base::has_member_count<Nested, 4>);
static_assert(!base::has_member_count<Nested, 3>);
static_assert(!base::has_member_count<Nested, 5>);
static_assert(base::has_member_count<OneSection, 1>);
static_assert(!base::has_member_count<OneSection, 2>);
static_assert(base::enum_name(fixture::Shape::cosine) == "cosine");
static_assert(base::enum_from_name<fixture::Shape>("linear") == fixture::Shape::linear);
static_assert(!base::enum_from_name<fixture::Shape>("none"));

struct ListsTwice {
  bool a = false;
  bool b = false;
  static constexpr auto fields() {
    return std::tuple(base::field("a", &ListsTwice::a, ""), base::field("b", &ListsTwice::a, ""));
  }
};
struct SameKey {
  bool a = false;
  bool b = false;
  static constexpr auto fields() {
    return std::tuple(base::field("a", &SameKey::a, ""), base::field("a", &SameKey::b, ""));
  }
};
struct BoundsText {
  std::string a;
  static constexpr auto fields() {
    return std::tuple(base::field("a", &BoundsText::a, "", base::at_least(1)));
  }
};

TEST(Config, MistakesInFieldsAreFound) {
  EXPECT_THROW(base::section_info<ListsTwice>(), std::logic_error);
  EXPECT_THROW(base::section_info<SameKey>(), std::logic_error);
  EXPECT_THROW(base::section_info<BoundsText>(), std::logic_error);
}

RunConfig changed_run() {
  return base::parse_config<RunConfig>(
      R"({"seed": 9, "shape": "cosine", "data": {"train": ["b.bin"]},
      "model": {"normalizer": {"kind": "scaled", "initial_scale": 2}}})",
      "x");
}

TEST(Config, ResolvedTextHasEveryKeyInOrder) {
  EXPECT_EQ(base::config_text(changed_run()), R"({
  "seed": 9,
  "rate": 0.0006,
  "shape": "cosine",
  "tied": false,
  "model": {
    "width": 8,
    "heads": 2,
    "normalizer": {
      "kind": "scaled",
      "learn_scale": true,
      "initial_scale": 2.0,
      "scale": {
        "learn": true,
        "initial": 1.0
      }
    }
  },
  "data": {
    "train": [
      "b.bin"
    ],
    "others": [],
    "name": "run"
  }
}
)");
}

TEST(Config, ResolvedTextReadsBackAsTheSame) {
  const RunConfig run = changed_run();
  const RunConfig back = base::parse_config<RunConfig>(base::config_text(run), "resolved");
  EXPECT_EQ(base::config_text(back), base::config_text(run));
  EXPECT_TRUE(base::config_differences(run, back).empty());
}

TEST(Config, DifferencesNameTheKeys) {
  const auto differences = base::config_differences(RunConfig{}, changed_run());
  std::string text;
  for (const auto& [key, left, right] : differences) {
    text += key + ": " + left + " -> " + right + '\n';
  }
  EXPECT_EQ(text,
            "seed: 1337 -> 9\n"
            "shape: \"constant\" -> \"cosine\"\n"
            "model.normalizer.kind: \"plain\" -> \"scaled\"\n"
            "data.train: [\"a.bin\"] -> [\"b.bin\"]\n"
            "model.normalizer.learn_scale:  -> true\n"
            "model.normalizer.initial_scale:  -> 2.0\n"
            "model.normalizer.scale.learn:  -> true\n"
            "model.normalizer.scale.initial:  -> 1.0\n");
}

TEST(Config, ExplainsEveryKey) {
  const std::string text = base::explain_text<RunConfig>();
  EXPECT_NE(text.find("rate"), std::string::npos);
  EXPECT_NE(text.find("number > 0, <= 1"), std::string::npos);
  EXPECT_NE(text.find("constant | cosine | linear"), std::string::npos);
  EXPECT_EQ(
      base::explain_text<RunConfig>("model.normalizer"),
      "model.normalizer.kind           plain | scaled   \"plain\"  The normalizer\n"
      "model.normalizer.learn_scale    true or false    true     scaled: Whether s is "
      "learned\n"
      "model.normalizer.initial_scale  number >= 0      0.43     scaled: s at the start\n"
      "model.normalizer.scale.learn    true or false    true     scaled: Whether the scale is "
      "learned\n"
      "model.normalizer.scale.initial  number > 0, < 9  1.0      scaled: Its first value\n");
  EXPECT_EQ(base::explain_text<RunConfig>("seed"),
            "seed  integer  1337  Seed of all random numbers\n");
  try {
    base::explain_text<RunConfig>("model.normalizr");
    FAIL() << "an unknown prefix was taken";
  } catch (const base::Error& error) {
    EXPECT_STREQ(error.what(),
                 "there is no key or section \"model.normalizr\", did you mean "
                 "\"model.normalizer\"?");
  }
}

TEST(Config, SchemaDescribesEveryField) {
  const auto schema = nlohmann::json::parse(base::schema_text<RunConfig>("demo"));
  EXPECT_EQ(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
  EXPECT_EQ(schema["title"], "demo");
  EXPECT_EQ(schema["additionalProperties"], false);
  const nlohmann::json& properties = schema["properties"];
  EXPECT_TRUE(properties.contains("extends"));
  EXPECT_TRUE(properties.contains("$schema"));
  EXPECT_EQ(
      properties["rate"].dump(),
      R"({"default":0.0006,"description":"Learning rate","exclusiveMinimum":0.0,"maximum":1.0,"type":"number"})");
  EXPECT_EQ(properties["shape"]["enum"].dump(), R"(["constant","cosine","linear"])");
  EXPECT_EQ(properties["model"]["properties"]["width"].dump(),
            R"({"default":8,"description":"Channels","minimum":1,"type":"integer"})");
  EXPECT_EQ(
      properties["data"]["properties"]["train"].dump(),
      R"({"default":["a.bin"],"description":"Shards","items":{"type":"string"},"minItems":1,"type":"array"})");
  EXPECT_EQ(properties["model"]["additionalProperties"], false);

  const nlohmann::json& kinds = properties["model"]["properties"]["normalizer"]["oneOf"];
  ASSERT_EQ(kinds.size(), 3U);
  EXPECT_EQ(kinds[1]["properties"]["kind"]["const"], "scaled");
  EXPECT_EQ(kinds[1]["required"].dump(), R"(["kind"])");
  EXPECT_EQ(kinds[1]["properties"]["scale"]["properties"]["initial"]["exclusiveMinimum"], 0.0);
  // Options alone, for a file that extends another.
  EXPECT_FALSE(kinds[2]["properties"].contains("kind"));
  EXPECT_TRUE(kinds[2]["properties"].contains("learn_scale"));
}

TEST(AnySection, CopiesAndComparesByValue) {
  base::AnySection section = base::AnySection::of(fixture::Scaled{});
  const base::AnySection copy = section;
  EXPECT_TRUE(copy == section);
  section.get<fixture::Scaled>().initial_scale = 5;
  EXPECT_FALSE(copy == section);
  EXPECT_EQ(copy.get<fixture::Scaled>().initial_scale, 0.43);
  EXPECT_THROW(section.get<fixture::Plain>(), std::logic_error);
  base::AnySection moved = std::move(section);
  EXPECT_EQ(moved.get<fixture::Scaled>().initial_scale, 5);
  section = copy;
  EXPECT_TRUE(section == copy);
}

TEST(AnySection, WritesAndExplains) {
  base::AnySection section = base::AnySection::of(fixture::Scaled{.initial_scale = 4, .scale = {}});
  EXPECT_EQ(to_text(section.write()),
            R"({"learn_scale":true,"initial_scale":4.0,"scale":{"learn":true,"initial":1.0}})");
  EXPECT_NE(section.explain().find("initial_scale"), std::string::npos);
}

TEST(KindSection, SelectsByName) {
  base::KindSection section(&fixture::kinds, "scaled");
  section.get<fixture::Scaled>().initial_scale = 2;
  section.select("scaled");
  EXPECT_EQ(section.get<fixture::Scaled>().initial_scale, 2);
  const base::KindSection copy = section;
  section.select("plain");
  EXPECT_FALSE(copy == section);
  EXPECT_EQ(copy.kind(), "scaled");
  EXPECT_THROW(section.select("other"), base::Error);
  EXPECT_EQ(section.kind(), "plain");
}

}  // namespace
}  // namespace ssmax
