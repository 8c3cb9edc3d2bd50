#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "base/durable_file.h"
#include "corpus/manifest.h"
#include "corpus/shard.h"

namespace ssmax::corpus {

/// Writes one shard: to PATH.partial, which finish() completes, flushes to the disk and renames, so
/// that PATH is never half a shard. Errors of the disk are those of base/durable_file.h.
class ShardWriter {
 public:
  ShardWriter(const std::filesystem::path& path, TokenType type);
  /// Removes the partial file of a shard that was not finished.
  ~ShardWriter();
  ShardWriter(const ShardWriter&) = delete;
  ShardWriter& operator=(const ShardWriter&) = delete;

  /// Error(data) for an id that the token type cannot hold.
  void append(std::span<const std::int32_t> tokens);
  std::int64_t tokens() const { return tokens_; }

  /// What the manifest says of the file. At least one token must have been appended.
  ManifestFile finish();

 private:
  void flush();

  std::filesystem::path path_, partial_;
  TokenType type_;
  std::optional<base::DurableFile> file_;  // until it is finished
  std::int64_t tokens_ = 0;
  std::vector<std::byte> buffer_;
};

}  // namespace ssmax::corpus
