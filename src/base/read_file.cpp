#include "base/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "base/hash.h"

namespace ssmax::base {
namespace {

std::string reason() { return std::strerror(errno); }

}  // namespace

InputFile::InputFile(const std::filesystem::path& path, ErrorKind kind) : path_(path), kind_(kind) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) {
    throw Error(kind, "cannot open " + path.string() + ": " + reason());
  }
  struct stat status {};
  const bool known = ::fstat(descriptor_, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    const std::string why = !known                    ? reason()
                            : S_ISDIR(status.st_mode) ? "it is a folder, expected a file"
                                                      : "it is not a regular file";
    ::close(descriptor_);
    throw Error(kind, "cannot read " + path.string() + ": " + why);
  }
  size_ = status.st_size;
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      kind_(other.kind_),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(kind_, other.kind_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void InputFile::read(std::span<std::byte> bytes, std::int64_t offset) const {
  // Linux moves at most 2 GiB - 4 KiB in one call.
  constexpr std::size_t kMaxChunk = std::size_t{1} << 30;
  while (!bytes.empty()) {
    const ssize_t got =
        ::pread(descriptor_, bytes.data(), std::min(bytes.size(), kMaxChunk), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      throw Error(kind_, "cannot read " + path_.string() + " at offset " + std::to_string(offset) +
                             ": " + reason());
    }
    if (got == 0) {
      throw Error(kind_, path_.string() + " ends at offset " + std::to_string(offset) +
                             ", expected " + std::to_string(bytes.size()) + " more bytes");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    offset += got;
  }
}

std::string read_text_file(const std::filesystem::path& path, ErrorKind kind,
                           std::int64_t max_bytes) {
  const InputFile file(path, kind);
  if (file.size() > max_bytes) {
    throw Error(kind, path.string() + " has " + std::to_string(file.size()) +
                          " bytes, expected at most " + std::to_string(max_bytes));
  }
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  file.read(std::as_writable_bytes(std::span(text)), 0);
  return text;
}

std::string hash_file(const InputFile& file, const std::function<void(std::int64_t)>& progress) {
  constexpr std::int64_t kChunkBytes = std::int64_t{8} << 20;
  Hasher hasher;
  std::vector<std::byte> chunk(static_cast<std::size_t>(std::min(kChunkBytes, file.size())));
  for (std::int64_t offset = 0; offset < file.size(); offset += kChunkBytes) {
    const auto bytes = std::span(chunk).first(
        static_cast<std::size_t>(std::min(kChunkBytes, file.size() - offset)));
    file.read(bytes, offset);
    hasher.update(bytes);
    if (progress) progress(std::ssize(bytes));
  }
  return hasher.hex();
}

}  // namespace ssmax::base
