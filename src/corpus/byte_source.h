#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

namespace ssmax::corpus {

/// How a file is packed, by the end of its name: .gz, .zst, or neither.
enum class Packing { none, gzip, zstd };

Packing packing_of(const std::filesystem::path& path);

/// The bytes of a file from front to back, unpacked; memory for a block, not for the file.
class ByteSource {
 public:
  virtual ~ByteSource() = default;

  /// Fills `out` from its front and returns how much; less than its size only at the end.
  /// Error(data) when the file cannot be read, or is damaged or cut.
  virtual std::size_t read(std::span<char> out) = 0;
  /// Bytes of the file itself that are read by now.
  virtual std::int64_t consumed() const = 0;
};

std::unique_ptr<ByteSource> open_source(const std::filesystem::path& path);

}  // namespace ssmax::corpus
