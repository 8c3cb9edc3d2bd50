#include "corpus/shard_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/durable_file.h"
#include "base/errors.h"
#include "base/hash.h"

namespace ssmax::corpus {

namespace {

constexpr std::size_t kBufferBytes = 1 << 20;

[[noreturn]] void fail_disk(const std::filesystem::path& path, const char* what) {
  throw base::Error(base::ErrorKind::disk,
                    path.string() + ": cannot " + what + ": " + std::strerror(errno));
}

void write_all(int descriptor, std::span<const std::byte> bytes, std::int64_t offset,
               const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(descriptor, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail_disk(path, "write");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += written;
  }
}

/// Hash of the file as it can be read back.
std::string hash_file(const std::filesystem::path& path) {
  const base::InputFile file(path, base::ErrorKind::disk);
  base::Hasher hasher;
  std::vector<std::byte> block(kBufferBytes);
  for (std::int64_t offset = 0; offset < file.size(); offset += std::ssize(block)) {
    const std::int64_t bytes = std::min(std::ssize(block), file.size() - offset);
    const std::span part(block.data(), static_cast<std::size_t>(bytes));
    file.read(part, offset);
    hasher.update(part);
  }
  return hasher.hex();
}

}  // namespace

ShardWriter::ShardWriter(const std::filesystem::path& path, TokenType type)
    : path_(path), partial_(path.string() + ".partial"), type_(type) {
  descriptor_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail_disk(partial_, "create");
  buffer_.reserve(kBufferBytes + 4);
}

ShardWriter::~ShardWriter() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(partial_.c_str());
}

void ShardWriter::append(std::span<const std::int32_t> tokens) {
  const auto width = static_cast<std::size_t>(token_bytes(type_));
  const std::int64_t limit = type_ == TokenType::uint16 ? 1 << 16 : 1LL << 31;
  for (const std::int32_t token : tokens) {
    if (token < 0 || token >= limit) {
      throw base::Error(base::ErrorKind::data, path_.string() + ": the token id " +
                                                   std::to_string(token) +
                                                   " does not fit this type of shard");
    }
    const auto* bytes = reinterpret_cast<const std::byte*>(&token);
    buffer_.insert(buffer_.end(), bytes, bytes + width);
    ++tokens_;
    if (buffer_.size() >= kBufferBytes) flush();
  }
}

void ShardWriter::flush() {
  const std::int64_t end = kShardHeaderBytes + tokens_ * token_bytes(type_);
  write_all(descriptor_, buffer_, end - std::ssize(buffer_), partial_);
  buffer_.clear();
}

void ShardWriter::write_header() {
  std::array<std::int32_t, 256> header{};
  header[0] = type_ == TokenType::uint16 ? kMagicUint16 : kMagicUint32;
  header[1] = type_ == TokenType::uint16 ? kVersionUint16 : kVersionUint32;
  header[2] = static_cast<std::int32_t>(static_cast<std::uint32_t>(tokens_));
  header[3] = static_cast<std::int32_t>(tokens_ >> 32);
  write_all(descriptor_, std::as_bytes(std::span(header)), 0, partial_);
}

ManifestFile ShardWriter::finish() {
  if (tokens_ == 0) {
    throw base::Error(base::ErrorKind::data, path_.string() + ": a shard needs a token");
  }
  flush();
  write_header();
  if (::fsync(descriptor_) != 0) fail_disk(partial_, "flush");
  const int descriptor = descriptor_;
  descriptor_ = -1;
  if (::close(descriptor) != 0) fail_disk(partial_, "close");
  ManifestFile file;
  file.file = path_.filename().string();
  file.tokens = tokens_;
  file.bytes = kShardHeaderBytes + tokens_ * token_bytes(type_);
  file.xxh3_128 = hash_file(partial_);
  base::rename_durably(partial_, path_);
  return file;
}

ManifestFile write_shard(const std::filesystem::path& path, std::span<const std::int32_t> tokens,
                         TokenType type) {
  ShardWriter writer(path, type);
  writer.append(tokens);
  return writer.finish();
}

}  // namespace ssmax::corpus
