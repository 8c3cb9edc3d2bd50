#include "corpus/megatron_index.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "base/errors.h"
#include "base/read_file.h"

namespace ssmax::corpus {

namespace {

constexpr std::string_view kMagic("MMIDIDX\0\0", 9);
constexpr std::int64_t kHeaderBytes = 9 + 8 + 1 + 8 + 8;
constexpr std::int64_t kChunk = std::int64_t{1} << 16;  // sequences looked at at a time

[[noreturn]] void fail(const std::filesystem::path& path, std::int64_t offset,
                       const std::string& message) {
  throw base::Error(base::ErrorKind::data,
                    path.string() + ": offset " + std::to_string(offset) + ": " + message);
}

template <class T>
T at(std::span<const std::byte> bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

template <class T>
std::vector<T> read_array(const base::InputFile& file, std::int64_t offset, std::int64_t count) {
  std::vector<T> values(static_cast<std::size_t>(count));
  file.read(std::as_writable_bytes(std::span(values)), offset);
  return values;
}

TokenType type_of(std::uint8_t code, const std::filesystem::path& path) {
  if (code == 8) return TokenType::uint16;
  if (code == 4) return TokenType::uint32;
  fail(path, 17,
       "expected tokens of type 8 (uint16) or 4 (int32), found type " + std::to_string(code));
}

}  // namespace

std::filesystem::path megatron_index_path(const std::filesystem::path& tokens) {
  return std::filesystem::path(tokens).replace_extension(".idx");
}

MegatronIndex read_megatron_index(const std::filesystem::path& path) {
  const base::InputFile file(path, base::ErrorKind::data);
  if (file.size() < kHeaderBytes) {
    fail(path, 0, "expected an index of Megatron, found " + std::to_string(file.size()) + " bytes");
  }
  std::array<std::byte, kHeaderBytes> header{};
  file.read(header, 0);
  if (std::memcmp(header.data(), kMagic.data(), kMagic.size()) != 0) {
    fail(path, 0, "expected \"MMIDIDX\", the index of a Megatron data set");
  }
  if (const auto version = at<std::uint64_t>(header, 9); version != 1) {
    fail(path, 9, "expected version 1, found " + std::to_string(version));
  }
  MegatronIndex index;
  index.type = type_of(at<std::uint8_t>(header, 17), path);
  const auto sequences = at<std::uint64_t>(header, 18);
  const auto documents = at<std::uint64_t>(header, 26);
  const auto rest = static_cast<std::uint64_t>(file.size() - kHeaderBytes);
  if (sequences > rest / 12 || documents > rest / 8 || sequences * 12 + documents * 8 != rest) {
    fail(path, 18,
         "the index names " + std::to_string(sequences) + " sequences and " +
             std::to_string(documents) + " documents, but has " + std::to_string(rest) +
             " bytes for them; it is truncated or damaged");
  }
  index.sequences = static_cast<std::int64_t>(sequences);
  const std::int64_t width = token_bytes(index.type);
  for (std::int64_t first = 0; first < index.sequences; first += kChunk) {
    const std::int64_t count = std::min(kChunk, index.sequences - first);
    const auto lengths = read_array<std::int32_t>(file, kHeaderBytes + first * 4, count);
    const std::int64_t offsets_at = kHeaderBytes + index.sequences * 4 + first * 8;
    const auto offsets = read_array<std::int64_t>(file, offsets_at, count);
    for (std::int64_t i = 0; i < count; ++i) {
      const auto k = static_cast<std::size_t>(i);
      if (lengths[k] < 0 || offsets[k] != index.tokens * width) {
        fail(path, offsets_at + i * 8,
             "expected sequence " + std::to_string(first + i) + " at byte " +
                 std::to_string(index.tokens * width) + ", behind the one before, found byte " +
                 std::to_string(offsets[k]) + " and " + std::to_string(lengths[k]) + " tokens");
      }
      index.tokens += lengths[k];
    }
  }
  return index;
}

}  // namespace ssmax::corpus
