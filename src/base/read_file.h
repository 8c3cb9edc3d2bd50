#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <span>
#include <string>

#include "base/errors.h"

namespace ssmax::base {

/// The whole file. Throws Error(kind) with path and reason: missing, a folder, unreadable, or
/// longer than `max_bytes`.
std::string read_text_file(const std::filesystem::path& path, ErrorKind kind,
                           std::int64_t max_bytes = std::numeric_limits<std::int64_t>::max());

/// A file read at any offset; reads may come from several threads at once. Never mapped, so a file
/// that shrinks gives an error and no SIGBUS.
class InputFile {
 public:
  /// Opens `path`; errors, here and in reads, are of `kind`.
  InputFile(const std::filesystem::path& path, ErrorKind kind);
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;
  ~InputFile();

  /// Bytes when it was opened.
  std::int64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }

  /// Fills `bytes` from `offset`; throws with path and offset when the file ends before.
  void read(std::span<std::byte> bytes, std::int64_t offset) const;

 private:
  std::filesystem::path path_;
  ErrorKind kind_;
  int descriptor_ = -1;
  std::int64_t size_ = 0;
};

/// XXH3-128 of the bytes from the front to the end, as Hasher gives it. `progress` is told how many
/// more are read.
std::string hash_file(const InputFile& file,
                      const std::function<void(std::int64_t bytes)>& progress = {});

}  // namespace ssmax::base
