#include "corpus/byte_characters.h"

#include <cstdint>

#include "base/utf8.h"

namespace ssmax::corpus {

namespace {

bool is_printable(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/// Both directions of the table; the characters are U+0021 to U+0143.
struct Table {
  std::array<std::string, 256> characters;
  std::array<unsigned char, 256> order;
  std::array<std::int16_t, 0x144> bytes;

  Table() {
    bytes.fill(-1);
    std::size_t count = 0;
    char32_t next = 0x100;
    for (const bool printable : {true, false}) {
      for (int byte = 0; byte < 256; ++byte) {
        if (is_printable(byte) != printable) continue;
        const char32_t character = printable ? static_cast<char32_t>(byte) : next++;
        base::append_utf8(characters[static_cast<std::size_t>(byte)], character);
        bytes[character] = static_cast<std::int16_t>(byte);
        order[count++] = static_cast<unsigned char>(byte);
      }
    }
  }
};

const Table& table() {
  static const Table instance;
  return instance;
}

}  // namespace

const std::array<std::string, 256>& byte_characters() { return table().characters; }

const std::array<unsigned char, 256>& bytes_by_character() { return table().order; }

bool from_byte_characters(std::string& bytes, std::string_view text) {
  bytes.clear();
  while (!text.empty()) {
    const base::Utf8 front = base::read_utf8(text.substr(0, 4));
    if (front.kind != base::Utf8Kind::character || front.code_point >= table().bytes.size())
      return false;
    const std::int16_t byte = table().bytes[front.code_point];
    if (byte < 0) return false;
    bytes.push_back(static_cast<char>(byte));
    text.remove_prefix(static_cast<std::size_t>(front.length));
  }
  return true;
}

std::string to_byte_characters(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += byte_characters()[static_cast<unsigned char>(byte)];
  return text;
}

}  // namespace ssmax::corpus
