#include "base/strict_json.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

namespace ssmax::base {
namespace {

/// The message of the error that parsing gives; empty when the text is taken.
std::string refusal(std::string_view text) {
  try {
    parse_json_value(text, "a.json", ErrorKind::usage);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    const std::string message = error.what();
    EXPECT_EQ(message.find('\n'), std::string::npos) << "not one line: " << message;
    EXPECT_LT(message.size(), 600U);
    return message;
  }
  return "";
}

TEST(StrictJson, TakesWhatTheStandardTakes) {
  using Type = JsonValue::Type;
  const JsonValue json = parse_json_value(
      R"( {"a": [1, -2, 2.5, 1e3, true, null, "\u00e9\ud83d\ude00"], "b": {}, "": ""} )", "x",
      ErrorKind::data);
  const std::vector<JsonValue>& list = json.find("a")->items;
  ASSERT_EQ(list.size(), 7U);
  EXPECT_EQ(list[0].type, Type::integer);
  EXPECT_EQ(list[1].integer, -2);
  EXPECT_EQ(list[3].type, Type::number);
  EXPECT_EQ(list[6].text, "\xC3\xA9\xF0\x9F\x98\x80");
  EXPECT_EQ(json.find("b")->type, Type::object);
  EXPECT_EQ(parse_json_value("3", "x", ErrorKind::data).integer, 3);
  EXPECT_EQ(parse_json_value("9223372036854775807", "x", ErrorKind::data).integer, INT64_MAX);
}

TEST(StrictJson, NamesLineAndKey) {
  EXPECT_EQ(refusal("{\n  \"model\": {\n    \"width\": 3,\n    \"width\": 4\n  }\n}"),
            "a.json:4:model.width: the key appears twice in one object");
  EXPECT_TRUE(refusal("{\n\"a\": {\n\"b\": [1,\n 2,\n x]}}").starts_with("a.json:5:a.b[2]: "));
  EXPECT_TRUE(refusal("{\"a\": 1\n}\n}").starts_with("a.json:3: "));
  EXPECT_TRUE(refusal("{\"a\":\n 1e400}").starts_with("a.json:2:a: "));
}

TEST(StrictJson, RefusesEverythingElse) {
  const char* const texts[] = {"",
                               " \n\t",
                               "\xEF\xBB\xBF{}",
                               "{} {}",
                               "{}x",
                               "{,}",
                               "{\"a\":1,}",
                               "[1,]",
                               "[1 2]",
                               "{'a':1}",
                               "{a:1}",
                               "// c\n{}",
                               "{/* c */}",
                               "NaN",
                               "-Infinity",
                               "[Infinity]",
                               "1e400",
                               "-1e999",
                               "01",
                               "+1",
                               ".5",
                               "1.",
                               "1e",
                               "0x10",
                               "tru",
                               "\"a",
                               "\"\t\"",
                               "\"\\x\"",
                               "\"\\ud800\"",
                               "\"\\udc00\\ud800\"",
                               "{\"a\"}",
                               "{\"a\":}",
                               "[",
                               "]",
                               "{\"a\":1,\"a\":1}",
                               "[{\"x\":{},\"x\":1}]",
                               "\"\xFF\"",
                               "\"\xC0\xAF\"",
                               "\"\xED\xA0\x80\"",
                               "\"\xF4\x90\x80\x80\"",
                               "\"\xC3",
                               "\xFF\xFE{\0}\0"};
  for (const char* text : texts) {
    EXPECT_NE(refusal(text), "") << "taken: " << text;
  }
  EXPECT_NE(refusal(std::string_view("{}\0", 3)), "");
  EXPECT_NE(refusal(std::string_view("\0", 1)), "");
  EXPECT_EQ(refusal(std::string_view("{}\n\0{", 5)),
            "a.json:2: the byte \\x00 at offset 3 has no place in JSON");
}

TEST(StrictJson, KeysMayRepeatInDifferentObjects) {
  EXPECT_EQ(refusal(R"({"a": {"a": [{"a": 1}, {"a": 2}]}})"), "");
}

TEST(StrictJson, DepthEndsAtTheLimit) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_EQ(refusal(nested(kMaxJsonDepth)), "");
  EXPECT_NE(refusal(nested(kMaxJsonDepth + 1)).find("nested deeper than 64"), std::string::npos);
}

TEST(StrictJson, AMillionLevelsAreRefusedInTime) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_NE(refusal(std::string(1'000'000, '[')), "");
  std::string objects;
  for (int i = 0; i < 1'000'000; ++i) objects += "{\"a\":";
  EXPECT_NE(refusal(objects), "");
  // A second is what the contract allows a wrong file; both together take a few milliseconds.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

TEST(StrictJson, LongTokensStayOutOfTheMessage) {
  EXPECT_LT(refusal("{\"" + std::string(1'000'000, 'k') + "\": x}").size(), 600U);
  EXPECT_LT(refusal("\"" + std::string(1'000'000, 'v')).size(), 600U);
  EXPECT_LT(refusal(std::string(1'000'000, '7') + "e99999").size(), 600U);
}

TEST(StrictJson, EveryValueKnowsItsLine) {
  const JsonValue value =
      parse_json_value("\n{\n\"a\": 1\n,\"b\":\n[\n2,\n3\n]\n}", "x", ErrorKind::usage);
  EXPECT_EQ(value.line, 2);
  EXPECT_EQ(value.members[0].line, 3);
  EXPECT_EQ(value.members[0].value.line, 3);
  EXPECT_EQ(value.members[1].line, 4);
  EXPECT_EQ(value.members[1].value.line, 5);
  EXPECT_EQ(value.members[1].value.items[0].line, 6);
  EXPECT_EQ(value.members[1].value.items[1].line, 7);
}

TEST(StrictJson, TextKeepsTheOrderOfMembers) {
  const char* text = R"({"z":1,"a":[1.5,true,null],"m":{"y":"\"","x":-3}})";
  EXPECT_EQ(to_text(parse_json_value(text, "x", ErrorKind::usage)), text);
}

// A search for each key would compare 20,000,000,000 of them: minutes, where writing takes tenths
// of a second.
TEST(StrictJson, LargeObjectsAreWrittenInTime) {
  JsonValue object = JsonValue::object();
  for (int i = 0; i < 200'000; ++i) {
    object.add("tensor." + std::to_string(i), JsonValue::of(std::int64_t{i}));
  }
  const auto start = std::chrono::steady_clock::now();
  const std::string text = to_text(object);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  EXPECT_TRUE(text.ends_with(R"("tensor.199999":199999})"));
}

TEST(StrictJson, NumbersSurviveATripThroughText) {
  for (const double number : {0.1, 6e-4, 1e-5, 1e300, 5e-324, 1.0, -0.0, 123456789.125}) {
    const std::string text = to_text(JsonValue::of(number));
    const JsonValue back = parse_json_value(text, "x", ErrorKind::usage);
    EXPECT_EQ(back.number, number) << text;
    EXPECT_EQ(back.type, JsonValue::Type::number) << text;
  }
}

}  // namespace
}  // namespace ssmax::base
