#pragma once

#include <filesystem>
#include <span>

#include "corpus/shard_writer.h"

namespace ssmax::support {

/// A shard of these tokens.
inline corpus::ManifestFile write_shard(const std::filesystem::path& path,
                                        std::span<const std::int32_t> tokens,
                                        corpus::TokenType type = corpus::TokenType::uint16) {
  corpus::ShardWriter writer(path, type);
  writer.append(tokens);
  return writer.finish();
}

}  // namespace ssmax::support
