#include "base/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace ssmax::base {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";

TEST(Utf8, every_code_point_is_written_and_read_back) {
  for (char32_t code_point = 0; code_point <= 0x10FFFF; ++code_point) {
    std::string text;
    append_utf8(text, code_point);
    const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
    const Utf8 front = read_utf8(text);
    if (surrogate) {
      ASSERT_EQ(front.kind, Utf8Kind::invalid) << std::hex << std::uint32_t{code_point};
      continue;
    }
    ASSERT_EQ(front.kind, Utf8Kind::character) << std::hex << std::uint32_t{code_point};
    ASSERT_EQ(front.length, static_cast<int>(text.size()));
    ASSERT_EQ(front.code_point, code_point);
    for (std::size_t bytes = 1; bytes < text.size(); ++bytes) {
      ASSERT_EQ(read_utf8(std::string_view(text).substr(0, bytes)).kind, Utf8Kind::incomplete);
    }
  }
}

TEST(Utf8, ill_formed_bytes_are_invalid) {
  for (const char* bytes :
       {"\x80", "\xBF", "\xC0\xAF", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xE2\x28\xA1", "\xE2\x82\x28"}) {
    EXPECT_EQ(read_utf8(bytes).kind, Utf8Kind::invalid) << bytes;
    EXPECT_EQ(find_invalid_utf8(std::string("12345678901234567\xC3\xA9") + bytes), 19U);
  }
}

TEST(Utf8, the_first_byte_that_is_not_utf8_is_found) {
  const auto npos = std::string_view::npos;
  EXPECT_EQ(find_invalid_utf8(""), npos);
  EXPECT_EQ(find_invalid_utf8("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xF4\x8F\xBF\xBF"), npos);
  EXPECT_EQ(find_invalid_utf8("ab\x80"), 2U);
  EXPECT_EQ(find_invalid_utf8("a\xC3"), 1U);             // cut
  EXPECT_EQ(find_invalid_utf8("\xC1\x81"), 0U);          // overlong
  EXPECT_EQ(find_invalid_utf8("\xE0\x80\xAF"), 0U);      // overlong
  EXPECT_EQ(find_invalid_utf8("\xED\xA0\x80"), 0U);      // surrogate
  EXPECT_EQ(find_invalid_utf8("\xF4\x90\x80\x80"), 0U);  // beyond U+10FFFF
  EXPECT_EQ(find_invalid_utf8("\xF0\x8F\xBF\xBF"), 0U);
}

TEST(Utf8Stream, holds_back_what_is_not_complete) {
  const std::string text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z";
  Utf8Stream stream;
  std::string all;
  for (const char byte : text) {
    const std::string part = stream.push(std::string_view(&byte, 1));
    EXPECT_EQ(find_invalid_utf8(part), std::string::npos);
    all += part;
  }
  EXPECT_EQ(all, text);
  EXPECT_EQ(stream.finish(), "");
}

TEST(Utf8Stream, replaces_what_cannot_become_a_character) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("a\xE2\x82"), "a");
  EXPECT_EQ(stream.push("b"), std::string(kReplacement) + kReplacement + "b");
  EXPECT_EQ(stream.push("\xFF"), kReplacement);
  EXPECT_EQ(stream.push("\xF0\x9F"), "");
  EXPECT_EQ(stream.finish(), kReplacement);
  EXPECT_EQ(stream.finish(), "");
}

}  // namespace
}  // namespace ssmax::base
