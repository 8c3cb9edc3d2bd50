#include "base/utf8.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace ssmax::base {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

}  // namespace

Utf8 read_utf8(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {Utf8Kind::character, 1, lead};
  if (lead < 0xC2 || lead > 0xF4) return {Utf8Kind::invalid, 1, 0};
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte has a narrower range where overlong forms, surrogates or too large values
  // begin.
  const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  char32_t code_point = lead & (0xFFU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {Utf8Kind::incomplete, static_cast<int>(i), 0};
    const unsigned next = byte(i);
    if (next < (i == 1 ? low : 0x80U) || next > (i == 1 ? high : 0xBFU)) {
      return {Utf8Kind::invalid, 1, 0};
    }
    code_point = (code_point << 6) | (next & 0x3F);
  }
  return {Utf8Kind::character, static_cast<int>(length), code_point};
}

std::size_t find_invalid_utf8(std::string_view bytes) {
  std::size_t at = 0;
  while (at < bytes.size()) {
    std::uint64_t eight = 0;
    if (at + 8 <= bytes.size()) {
      std::memcpy(&eight, bytes.data() + at, 8);
      if ((eight & 0x8080808080808080ULL) == 0) {
        at += 8;
        continue;
      }
    }
    const Utf8 front = read_utf8(bytes.substr(at, 4));
    if (front.kind != Utf8Kind::character) return at;
    at += static_cast<std::size_t>(front.length);
  }
  return std::string_view::npos;
}

void append_utf8(std::string& text, char32_t code_point) {
  const auto put = [&](char32_t value) { text.push_back(static_cast<char>(value)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | (code_point >> 6));
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | (code_point >> 12));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | (code_point >> 18));
    put(0x80 | ((code_point >> 12) & 0x3F));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

std::string Utf8Stream::push(std::string_view bytes) {
  held_.append(bytes);
  std::string text;
  std::size_t at = 0;
  while (at < held_.size()) {
    const std::string_view rest = std::string_view(held_).substr(at);
    const Utf8 front = read_utf8(rest.substr(0, 4));
    if (front.kind == Utf8Kind::incomplete) break;
    const auto length = static_cast<std::size_t>(front.length);
    text.append(front.kind == Utf8Kind::character ? rest.substr(0, length) : kReplacement);
    at += length;
  }
  held_.erase(0, at);
  return text;
}

std::string Utf8Stream::finish() {
  const std::string text(held_.empty() ? "" : kReplacement);
  held_.clear();
  return text;
}

}  // namespace ssmax::base
