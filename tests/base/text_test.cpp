#include "base/text.h"

#include <gtest/gtest.h>

#include <string>

namespace ssmax::base {
namespace {

TEST(Text, PrintsOnOneLine) {
  EXPECT_EQ(printable("a\n\x01\xFF\xC3\xA9"), "a\\x0a\\x01\\xff\xC3\xA9");
  EXPECT_EQ(printable("abcdef", 3), "abc...");
  EXPECT_EQ(printable("a\xC3\xA9", 2), "a\xC3\xA9");
  EXPECT_EQ(in_quotes("x"), "\"x\"");
}

TEST(Text, EditDistance) {
  EXPECT_EQ(edit_distance("", ""), 0U);
  EXPECT_EQ(edit_distance("abc", ""), 3U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
  EXPECT_EQ(edit_distance("seed", "sede"), 1U);
  EXPECT_EQ(edit_distance("ssmax", "ssmax"), 0U);
  EXPECT_EQ(edit_distance(std::string(1'000'000, 'a'), "b"), 64U);
}

TEST(Text, NearestAndLists) {
  const std::string_view names[] = {"softmax", "ssmax", "sink"};
  EXPECT_EQ(nearest("smax", names), "ssmax");
  EXPECT_EQ(nearest("x", {}), "");
  EXPECT_EQ(join(names, ", "), "softmax, ssmax, sink");
  EXPECT_EQ(split("a,,b", ','), (std::vector<std::string>{"a", "", "b"}));
  EXPECT_TRUE(split("", ',').empty());
}

}  // namespace
}  // namespace ssmax::base
