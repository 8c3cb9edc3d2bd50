#pragma once

#include <array>
#include <string>
#include <string_view>

namespace ssmax::corpus {

/// Vocabulary files write a byte as one printable character (GPT-2's table): bytes 0x21-0x7E,
/// 0xA1-0xAC and 0xAE-0xFF as the character of that number, the others in order from U+0100 on.
const std::array<std::string, 256>& byte_characters();

/// All bytes in the order of their characters: the first 256 ids of GPT-2.
const std::array<unsigned char, 256>& bytes_by_character();

/// The bytes that `text`, a sequence of those characters, stands for; false when it is none.
bool from_byte_characters(std::string& bytes, std::string_view text);

std::string to_byte_characters(std::string_view bytes);

}  // namespace ssmax::corpus
