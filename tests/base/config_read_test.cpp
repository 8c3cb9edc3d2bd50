#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "base/config.h"
#include "base/config_fixture.h"
#include "support/files.h"
#include "support/temporary_folder.h"

namespace ssmax {
namespace {

using fixture::RunConfig;

std::string message_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::usage);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "no error";
}

std::string refusal(std::string_view text, std::initializer_list<std::string> overrides = {}) {
  return message_of([&] { base::parse_config<RunConfig>(text, "a.json", overrides); });
}

std::string override_refusal(const std::string& text) { return refusal("{}", {text}); }

class ConfigFiles : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::string& text) const {
    const std::filesystem::path path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    support::write_all(path, text);
    return path;
  }
  /// The error of loading the file, without the folder in front.
  std::string refusal(const std::filesystem::path& path) const {
    std::string message = message_of([&] { base::load_config<RunConfig>(path); });
    const std::string prefix = folder_.path().string() + '/';
    for (std::size_t at = message.find(prefix); at != std::string::npos;
         at = message.find(prefix)) {
      message.erase(at, prefix.size());
    }
    return message;
  }

  support::TemporaryFolder folder_;
};

TEST(ConfigRead, DefaultsStandWhereNothingIsSaid) {
  const RunConfig run = base::parse_config<RunConfig>("{}", "x");
  EXPECT_EQ(run.seed, 1337);
  EXPECT_EQ(run.model.normalizer.kind(), "plain");
  EXPECT_EQ(run.data.train, std::vector<std::string>{"a.bin"});
}

TEST(ConfigRead, ReadsEveryType) {
  const RunConfig run = base::parse_config<RunConfig>(R"({
    "$schema": "schema.json", "seed": -9007199254740993, "rate": 1, "shape": "linear", "tied": true,
    "model": {"width": 12,
              "normalizer": {"learn_scale": false, "kind": "scaled", "scale": {"initial": 2}}},
    "data": {"train": ["b*.bin", "c.bin"], "name": "\u00e9"}})",
                                                      "x");
  EXPECT_EQ(run.seed, -9007199254740993);  // no double holds it
  EXPECT_EQ(run.rate, 1.0);
  EXPECT_EQ(run.shape, fixture::Shape::linear);
  EXPECT_TRUE(run.tied);
  EXPECT_EQ(run.model.width, 12);
  const auto& options = run.model.normalizer.get<fixture::Scaled>();
  EXPECT_FALSE(options.learn_scale);
  EXPECT_EQ(options.initial_scale, 0.43);
  EXPECT_EQ(options.scale.initial, 2.0);
  EXPECT_EQ(run.data.train, (std::vector<std::string>{"b*.bin", "c.bin"}));
  EXPECT_EQ(run.data.name, "\xC3\xA9");
}

TEST(ConfigRead, IntegersAreNothingElse) {
  EXPECT_EQ(refusal("{\n\"seed\": 1.9}"), "a.json:2:seed: expected an integer, found 1.9");
  EXPECT_EQ(refusal(R"({"seed": 1e3})"), "a.json:1:seed: expected an integer, found 1e3");
  EXPECT_EQ(refusal(R"({"seed": true})"), "a.json:1:seed: expected an integer, found true");
  EXPECT_EQ(refusal(R"({"seed": "3"})"),
            "a.json:1:seed: expected an integer, found the string \"3\"");
  EXPECT_EQ(refusal(R"({"seed": null})"), "a.json:1:seed: expected an integer, found null");
  EXPECT_EQ(refusal(R"({"seed": [3]})"), "a.json:1:seed: expected an integer, found a list");
  EXPECT_EQ(refusal(R"({"seed": 9223372036854775808})"),
            "a.json:1:seed: expected an integer from -9223372036854775808 to 9223372036854775807, "
            "found 9223372036854775808");
  EXPECT_EQ(refusal(R"({"seed": 99999999999999999999999})"),
            "a.json:1:seed: expected an integer from -9223372036854775808 to 9223372036854775807, "
            "found 99999999999999999999999");
  EXPECT_TRUE(refusal(R"({"seed": 1e400})").starts_with("a.json:1:seed: "));
}

TEST(ConfigRead, OtherTypesAreNothingElse) {
  EXPECT_EQ(refusal(R"({"tied": 1})"), "a.json:1:tied: expected true or false, found 1");
  EXPECT_EQ(refusal(R"({"rate": "1"})"),
            "a.json:1:rate: expected a number, found the string \"1\"");
  EXPECT_EQ(refusal(R"({"rate": false})"), "a.json:1:rate: expected a number, found false");
  EXPECT_EQ(refusal(R"({"data": {"name": 3}})"), "a.json:1:data.name: expected a string, found 3");
  EXPECT_EQ(refusal(R"({"data": {"name": "a\u0000b"}})"),
            "a.json:1:data.name: a string must not contain the character U+0000");
  EXPECT_EQ(refusal(R"({"data": {"train": "a"}})"),
            "a.json:1:data.train: expected a list, found the string \"a\"");
  EXPECT_EQ(refusal(R"({"data": {"train": ["a",
 2.5]}})"),
            "a.json:2:data.train[1]: expected a string, found 2.5");
  EXPECT_EQ(refusal(R"({"data": 3})"), "a.json:1:data: expected an object, found 3");
  EXPECT_EQ(refusal(R"({"model": {"normalizer": "plain"}})"),
            "a.json:1:model.normalizer: expected an object with a \"kind\", found the string "
            "\"plain\"");
  EXPECT_EQ(refusal("[1]"), "a.json:1: expected an object, found a list");
  EXPECT_EQ(refusal(R"({"shape": "cosin"})"),
            "a.json:1:shape: expected one of constant, cosine, linear; found \"cosin\", did you "
            "mean \"cosine\"?");
}

TEST(ConfigRead, UnknownKeysNameTheNearest) {
  EXPECT_EQ(refusal("{\n\n\"sede\": 1}"), "a.json:3:sede: unknown key, did you mean \"seed\"?");
  EXPECT_EQ(refusal(R"({"model": {"widht": 1}})"),
            "a.json:1:model.widht: unknown key, did you mean \"width\"?");
  // The right name in the wrong place.
  EXPECT_EQ(refusal(R"({"width": 1})"),
            "a.json:1:width: unknown key, did you mean \"model.width\"?");
  EXPECT_NE(refusal(R"({"qqqqqqqq": 1})").find("The keys here are: seed, rate, shape"),
            std::string::npos);
}

TEST(ConfigRead, LimitsAndHooksNameTheLine) {
  EXPECT_EQ(refusal("{\n\"rate\": 0}"), "a.json:2:rate: must be above 0, found 0.0");
  EXPECT_EQ(refusal("{\"rate\": 1.5}"), "a.json:1:rate: must be at most 1, found 1.5");
  EXPECT_EQ(refusal(R"({"model": {"width": 0}})"),
            "a.json:1:model.width: must be at least 1, found 0");
  EXPECT_EQ(refusal("{\n\"data\": {\n\"train\": []}}"),
            "a.json:3:data.train: must be given and not be empty");
  EXPECT_EQ(refusal("{\n\"model\": {\n\"heads\": 3}}"),
            "a.json:3:model.heads: must divide width 8");
  // The section's line stands in for a key that no line sets.
  EXPECT_EQ(refusal("{\n\"model\": {\n\"width\": 7}}"),
            "a.json:2:model.heads: must divide width 7");
  EXPECT_EQ(refusal("{}", {"model.width=7"}), "command line:model.heads: must divide width 7");
}

TEST(ConfigRead, KindsHaveTheirOwnOptions) {
  EXPECT_EQ(refusal("{\"model\": {\"normalizer\": {\n\"kind\": \"scaled\",\n\"learn\": 1}}}"),
            "a.json:3:model.normalizer.learn: unknown option, the kind \"scaled\" has the options "
            "learn_scale, initial_scale, scale; did you mean \"scale\"?");
  EXPECT_EQ(refusal(R"({"model": {"normalizer": {"learn_scale": true}}})"),
            "a.json:1:model.normalizer.learn_scale: unknown option, the kind \"plain\" has no "
            "options");
  EXPECT_EQ(refusal("{\"model\": {\"normalizer\": {\n\"kind\": \"scald\"}}}"),
            "a.json:2:model.normalizer.kind: unknown kind \"scald\", did you mean \"scaled\"? The "
            "kinds are: plain, scaled");
  EXPECT_EQ(refusal(R"({"model": {"normalizer": {"kind": 3}}})"),
            "a.json:1:model.normalizer.kind: expected a string, found 3");
  EXPECT_EQ(refusal("{\"model\": {\"normalizer\": {\"kind\": \"scaled\", \"scale\":\n"
                    "{\"initial\": -1}}}}"),
            "a.json:2:model.normalizer.scale.initial: must be above 0, found -1.0");
  EXPECT_EQ(refusal(R"({"model": {"normalizer": {"kind": "scaled", "scale": {"initial": 9}}}})"),
            "a.json:1:model.normalizer.scale.initial: must be below 9, found 9.0");
}

TEST(ConfigRead, OverridesTakeEveryType) {
  const RunConfig run = base::parse_config<RunConfig>(
      R"({"seed": 4, "model": {"width": 16}})", "x",
      {"--seed=5", "rate=0.5", "--shape=cosine", "--tied=true", "--model.heads=4",
       "--data.train=x.bin,y.bin", R"(--data.others=["1","y,z"])", "--data.name=12",
       "--model.normalizer.learn_scale=false", "--model.normalizer.kind=scaled",
       "--model.normalizer.scale.initial=3"});
  EXPECT_EQ(run.seed, 5);
  EXPECT_EQ(run.rate, 0.5);
  EXPECT_EQ(run.shape, fixture::Shape::cosine);
  EXPECT_TRUE(run.tied);
  EXPECT_EQ(run.model.width, 16);
  EXPECT_EQ(run.model.heads, 4);
  EXPECT_EQ(run.data.train, (std::vector<std::string>{"x.bin", "y.bin"}));
  EXPECT_EQ(run.data.others, (std::vector<std::string>{"1", "y,z"}));
  EXPECT_EQ(run.data.name, "12");
  EXPECT_FALSE(run.model.normalizer.get<fixture::Scaled>().learn_scale);
  EXPECT_EQ(run.model.normalizer.get<fixture::Scaled>().scale.initial, 3.0);
}

TEST(ConfigRead, OverridesOfWholeSectionsAndOfEqualKeys) {
  const RunConfig run =
      base::parse_config<RunConfig>("{}", "x",
                                    {R"(model={"width": 4, "normalizer": {"kind": "scaled"}})",
                                     "model.width=6", "model.normalizer.initial_scale=2", "seed=1",
                                     "seed=2", R"(data.train=["a,b"])", "data.others="});
  EXPECT_EQ(run.model.width, 6);
  EXPECT_EQ(run.model.normalizer.get<fixture::Scaled>().initial_scale, 2.0);
  EXPECT_EQ(run.seed, 2);
  EXPECT_EQ(run.data.train, std::vector<std::string>{"a,b"});
  EXPECT_TRUE(run.data.others.empty());
}

TEST(ConfigRead, WrongOverridesNameTheKey) {
  EXPECT_EQ(override_refusal("--seed=1.9"), "command line:seed: expected an integer, found 1.9");
  EXPECT_EQ(override_refusal("--seed=true"), "command line:seed: expected an integer, found true");
  EXPECT_EQ(override_refusal("--seed=abc"),
            "command line:seed: expected an integer, found \"abc\"");
  EXPECT_EQ(override_refusal("--seed="), "command line:seed: expected an integer, found \"\"");
  EXPECT_EQ(override_refusal("--seed=9223372036854775808"),
            "command line:seed: expected an integer from -9223372036854775808 to "
            "9223372036854775807, found 9223372036854775808");
  EXPECT_EQ(override_refusal("--rate=1e400"),
            "command line:rate: expected a number, found \"1e400\"");
  EXPECT_EQ(override_refusal("--model.widht=3"),
            "command line:model.widht: unknown key, did you mean \"width\"?");
  EXPECT_EQ(override_refusal("--seed.x=3"),
            "command line:seed: expected an integer, found an object");
  EXPECT_EQ(override_refusal("--model.normalizer.kind=plane"),
            "command line:model.normalizer.kind: unknown kind \"plane\", did you mean \"plain\"? "
            "The kinds are: plain, scaled");
  EXPECT_EQ(override_refusal("--model.normalizer=scaled"),
            "command line:model.normalizer: expected an object with a \"kind\", found \"scaled\"");
  EXPECT_EQ(override_refusal("--seed"),
            "command line: expected --section.key=value, found \"--seed\"");
  EXPECT_EQ(override_refusal("--=3"), "command line: expected --section.key=value, found \"--=3\"");
  EXPECT_EQ(override_refusal("--model..width=3"),
            "command line:.width: expected names with single dots between them");
  EXPECT_EQ(override_refusal("--extends=a.json"),
            "command line:extends: only a file can have this key");
  EXPECT_EQ(override_refusal("--data.name=\xFF"), "command line:data.name: is not UTF-8");
  EXPECT_TRUE(override_refusal("--model={\"width\":1,\"width\":2}")
                  .starts_with("command line:model:1:width: the key appears twice"));
  std::string deep = "a";
  for (int i = 0; i < 100'000; ++i) deep += ".a";
  EXPECT_LT(override_refusal(deep + "=1").size(), 600U);
  EXPECT_LT(override_refusal(std::string(1'000'000, 'k') + "=1").size(), 1000U);
}

TEST(ConfigRead, AFailedOverrideLeavesTheConfig) {
  RunConfig run;
  const std::vector<std::string> wrong = {"seed=7", "rate=2"};
  EXPECT_THROW(base::override_config(run, wrong), base::Error);
  EXPECT_EQ(run.seed, 1337);
  const std::vector<std::string> right = {"seed=7"};
  base::override_config(run, right);
  EXPECT_EQ(run.seed, 7);
}

TEST_F(ConfigFiles, ExtendsMergesKeyByKey) {
  write("base/a.json", R"({"seed": 1, "model": {"width": 16, "heads": 4,
      "normalizer": {"kind": "scaled", "learn_scale": false, "initial_scale": 2}}})");
  write("b.json", R"({"extends": "base/a.json", "seed": 2, "model": {"heads": 8}})");
  const auto path = write("c.json", R"({"extends": "b.json", "model": {"normalizer":
      {"initial_scale": 3}}})");
  const RunConfig run = base::load_config<RunConfig>(path, {"--model.width=32"});
  EXPECT_EQ(run.seed, 2);
  EXPECT_EQ(run.model.width, 32);
  EXPECT_EQ(run.model.heads, 8);
  const auto& options = run.model.normalizer.get<fixture::Scaled>();
  EXPECT_FALSE(options.learn_scale);
  EXPECT_EQ(options.initial_scale, 3.0);
}

TEST_F(ConfigFiles, AnotherKindStartsFromItsDefaults) {
  write("a.json", R"({"model": {"normalizer": {"kind": "scaled", "initial_scale": 2}}})");
  const auto plain =
      write("b.json", R"({"extends": "a.json", "model": {"normalizer": {"kind": "plain"}}})");
  EXPECT_EQ(base::load_config<RunConfig>(plain).model.normalizer.kind(), "plain");
  // By way of another kind the options of the first are gone.
  const auto back =
      write("c.json", R"({"extends": "b.json", "model": {"normalizer": {"kind": "scaled"}}})");
  EXPECT_EQ(
      base::load_config<RunConfig>(back).model.normalizer.get<fixture::Scaled>().initial_scale,
      0.43);
  // Naming the kind that it already is keeps them.
  const auto same =
      write("d.json", R"({"extends": "a.json", "model": {"normalizer": {"kind": "scaled"}}})");
  EXPECT_EQ(
      base::load_config<RunConfig>(same).model.normalizer.get<fixture::Scaled>().initial_scale,
      2.0);
  EXPECT_EQ(
      base::load_config<RunConfig>(back, {"model.normalizer.kind=plain"}).model.normalizer.kind(),
      "plain");
}

TEST_F(ConfigFiles, BlamesTheFileThatSaysIt) {
  write("a.json", "{\n\"model\": {\n\"heads\": 3}}");
  const auto path = write("b.json", "{\n\"extends\": \"a.json\",\n\"model\": {\"width\": 8}}");
  EXPECT_EQ(refusal(path), "a.json:3:model.heads: must divide width 8");
  write("a.json", "{\n\"modle\": {}}");
  EXPECT_EQ(refusal(path), "a.json:2:modle: unknown key, did you mean \"model\"?");
}

TEST_F(ConfigFiles, RefusesWrongExtends) {
  EXPECT_EQ(refusal(write("a.json", "{\n\"extends\": \"b.json\"}")),
            "a.json:2:extends: there is no file \"b.json\"; the path is relative to the file that "
            "names it");
  EXPECT_EQ(refusal(write("a.json", "{\"extends\": 3}")),
            "a.json:1:extends: expected the path of another config file, found 3");
  EXPECT_EQ(refusal(write("a.json", "{\"extends\": \"a.json\"}")),
            "a.json:1:extends: the files extend each other in a circle: \"a.json\" has been read "
            "before");
  write("sub/b.json", "{\"extends\": \"../a.json\"}");
  EXPECT_EQ(refusal(write("a.json", "{\"extends\": \"sub/b.json\"}")),
            "sub/b.json:1:extends: the files extend each other in a circle: \"../a.json\" has been "
            "read before");
  EXPECT_EQ(message_of([] { base::parse_config<RunConfig>(R"({"extends": "a.json"})", "m"); }),
            "m:1:extends: only a config file can extend another");
}

TEST_F(ConfigFiles, RefusesWhatCannotBeRead) {
  EXPECT_EQ(refusal(folder_ / "missing.json"),
            "cannot open missing.json: No such file or directory");
  EXPECT_TRUE(message_of([&] {
                base::load_config<RunConfig>(folder_.path());
              }).ends_with("it is a folder, expected a file"));
  EXPECT_TRUE(message_of([] {
                base::load_config<RunConfig>("/dev/zero");
              }).ends_with("it is not a regular file"));
  EXPECT_EQ(refusal(write("empty.json", "")),
            "empty.json:1: expected a JSON value, found nothing: the text is empty");
}

}  // namespace
}  // namespace ssmax
