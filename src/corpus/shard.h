#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/read_file.h"

namespace ssmax::corpus {

/// A token shard is a file of 256 little-endian int32 followed by the tokens, the format of llm.c
/// and modded-nanogpt:
///   header[0]  20240520 for uint16 tokens, 20240801 for uint32 tokens
///   header[1]  version: 1 for uint16, 7 for uint32
///   header[2]  number of tokens, its low 32 bits
///   header[3]  number of tokens, its high 32 bits (0 in every file below 2^32 tokens)
/// The size of the file must agree with the count; where header[3] is 0 the count may have been cut
/// to 32 bits by another program, and the size decides.
/// A file without this header but with a Megatron index beside it (megatron_index.h) is read too.
enum class TokenType { uint16, uint32 };

inline constexpr std::int64_t kShardHeaderBytes = 1024;
inline constexpr std::int32_t kMagicUint16 = 20240520;
inline constexpr std::int32_t kVersionUint16 = 1;
inline constexpr std::int32_t kMagicUint32 = 20240801;
inline constexpr std::int32_t kVersionUint32 = 7;

constexpr std::int64_t token_bytes(TokenType type) { return type == TokenType::uint16 ? 2 : 4; }

/// The narrowest type that holds every id below `vocab_size`.
TokenType token_type_for(std::int64_t vocab_size);

/// An open shard, read with pread: no mapping, so a file that shrinks is an error and not a signal.
/// Reading is safe from several threads at once.
class Shard {
 public:
  /// Opens the file and checks magic, version, count and size; Error(data) names the file.
  explicit Shard(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  TokenType type() const { return type_; }
  std::int64_t tokens() const { return tokens_; }
  std::int64_t bytes() const { return header_bytes_ + tokens_ * token_bytes(type_); }

  /// Tokens [first, first + out.size()). Error(data) with file and offset when the file has become
  /// shorter, cannot be read, or holds an id >= vocab_size.
  void read(std::span<std::int32_t> out, std::int64_t first, std::int64_t vocab_size) const;

  /// Bytes [offset, offset + out.size()) of the file as they are.
  void read_bytes(std::span<std::byte> out, std::int64_t offset) const { file_.read(out, offset); }

 private:
  void open_with_header();
  void open_with_index();

  base::InputFile file_;
  std::int64_t header_bytes_ = kShardHeaderBytes;
  TokenType type_ = TokenType::uint16;
  std::int64_t tokens_ = 0;
};

/// The files that `patterns` name, in the order of the patterns and sorted within each (globs with
/// * ? [ ]); Error(data) for a pattern that names no file and for a file named twice.
std::vector<std::filesystem::path> expand_globs(const std::vector<std::string>& patterns);

}  // namespace ssmax::corpus
