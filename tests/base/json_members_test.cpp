#include "base/json_members.h"

#include <gtest/gtest.h>

#include "base/strict_json.h"

namespace ssmax::base {
namespace {

template <class Work>
std::string refusal(Work&& work) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::data);
    return error.what();
  }
  return "taken";
}

TEST(JsonMembers, TakesEveryTypeAndNamesWhatIsWrong) {
  const JsonValue object = parse_json_value(
      "{\"count\": 3,\n\"name\": \"a\", \"inner\": {}, \"list\": [1, 2.5]}", "f", ErrorKind::data);
  JsonMembers members(object, "f", ErrorKind::data, "outer.");
  EXPECT_EQ(members.integer("count", 3), 3);
  EXPECT_EQ(members.text("name"), "a");
  EXPECT_EQ(refusal([&] { members.finish("this file"); }),
            "f:2:outer.inner: is not a key of this file");
  EXPECT_TRUE(members.object("inner").members.empty());
  EXPECT_EQ(members.list("list").size(), 2U);
  EXPECT_EQ(members.numbers("list"), (std::vector<double>{1.0, 2.5}));
  EXPECT_EQ(refusal([&] { members.finish("this file"); }), "taken");

  EXPECT_EQ(refusal([&] { members.integer("count", 4); }),
            "f:1:outer.count: expected at least 4, found 3");
  EXPECT_EQ(refusal([&] { members.text("count"); }), "f:1:outer.count: expected a string, found 3");
  EXPECT_EQ(refusal([&] { members.integer("absent"); }), "f:1:outer.absent: is missing");
  EXPECT_EQ(refusal([&] { JsonMembers(*object.find("name"), "f", ErrorKind::data); }),
            "f:2: expected an object, found the string \"a\"");
}

TEST(JsonMembers, ListsOfNumbersHoldNothingElse) {
  const JsonValue object = parse_json_value(R"({"list": [1, "2"]})", "f", ErrorKind::data);
  JsonMembers members(object, "f", ErrorKind::data);
  EXPECT_EQ(refusal([&] { members.numbers("list"); }),
            "f:1:list: expected a list of numbers, found the string \"2\"");
}

}  // namespace
}  // namespace ssmax::base
