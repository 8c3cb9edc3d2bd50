#include "corpus/shard_writer.h"

#include <array>
#include <string>

#include "base/errors.h"
#include "base/read_file.h"

namespace ssmax::corpus {

namespace {

constexpr std::size_t kBufferBytes = 1 << 20;

using Header = std::array<std::int32_t, kShardHeaderBytes / sizeof(std::int32_t)>;

Header header_of(TokenType type, std::int64_t tokens) {
  Header header{};
  header[0] = type == TokenType::uint16 ? kMagicUint16 : kMagicUint32;
  header[1] = type == TokenType::uint16 ? kVersionUint16 : kVersionUint32;
  header[2] = static_cast<std::int32_t>(static_cast<std::uint32_t>(tokens));
  header[3] = static_cast<std::int32_t>(tokens >> 32);
  return header;
}

}  // namespace

ShardWriter::ShardWriter(const std::filesystem::path& path, TokenType type)
    : path_(path),
      partial_(path.string() + ".partial"),
      type_(type),
      file_(std::in_place, partial_) {
  buffer_.reserve(kBufferBytes + sizeof(std::int32_t));
}

ShardWriter::~ShardWriter() {
  if (!file_) return;
  file_.reset();
  std::error_code ignored;
  std::filesystem::remove(partial_, ignored);
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
  if (file_->bytes_written() == 0) {  // not in the constructor, after which nobody would clean up
    const Header header = header_of(type_, 0);
    file_->write(std::as_bytes(std::span(header)));
  }
  file_->write(buffer_);
  buffer_.clear();
}

ManifestFile ShardWriter::finish() {
  if (tokens_ == 0) {
    throw base::Error(base::ErrorKind::data, path_.string() + ": a shard needs a token");
  }
  flush();
  const Header header = header_of(type_, tokens_);
  file_->overwrite(0, std::as_bytes(std::span(header)));
  file_->commit();
  ManifestFile file;
  file.file = path_.filename().string();
  file.tokens = tokens_;
  file.bytes = file_->bytes_written();
  file.xxh3_128 = base::hash_file(base::InputFile(partial_, base::ErrorKind::disk));
  base::rename_durably(partial_, path_);
  file_.reset();
  return file;
}

}  // namespace ssmax::corpus
