#pragma once

#include <string>
#include <string_view>

namespace ssmax::base {

/// What stands at the front of some bytes.
enum class Utf8Kind { character, incomplete, invalid };

struct Utf8 {
  Utf8Kind kind;
  int length;           // bytes of the character; of an incomplete one, those present; 1 if invalid
  char32_t code_point;  // of a character
};

/// Reads the character at the front of `bytes`, which must not be empty. Overlong forms, surrogates
/// and values above U+10FFFF are invalid (Unicode 15, table 3-7).
Utf8 read_utf8(std::string_view bytes);

/// Offset of the first byte that is not part of a character, or npos.
std::size_t find_invalid_utf8(std::string_view bytes);

/// Appends `code_point` in UTF-8.
void append_utf8(std::string& text, char32_t code_point);

/// Turns the bytes of generated tokens into text for a terminal: a character that is not complete
/// yet is held back, invalid bytes become U+FFFD.
class Utf8Stream {
 public:
  std::string push(std::string_view bytes);

  /// What is held back, as U+FFFD; empty when nothing is.
  std::string finish();

 private:
  std::string held_;
};

}  // namespace ssmax::base
