#include "corpus/shard.h"

#include <glob.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <set>

#include "base/errors.h"
#include "corpus/megatron_index.h"

namespace ssmax::corpus {

static_assert(std::endian::native == std::endian::little,
              "shards are read as they lie on the disk");

namespace {

using base::Error;
using base::ErrorKind;

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& message) {
  throw Error(ErrorKind::data, path.string() + ": " + message);
}

}  // namespace

TokenType token_type_for(std::int64_t vocab_size) {
  return vocab_size <= 65536 ? TokenType::uint16 : TokenType::uint32;
}

Shard::Shard(const std::filesystem::path& path) : file_(path, ErrorKind::data) {
  std::int32_t magic = 0;
  if (file_.size() >= kShardHeaderBytes) {
    read_bytes(std::as_writable_bytes(std::span(&magic, 1)), 0);
  }
  std::error_code ignored;
  const bool own = magic == kMagicUint16 || magic == kMagicUint32;
  if (!own && std::filesystem::exists(megatron_index_path(path), ignored)) {
    open_with_index();
  } else {
    open_with_header();
  }
  if (tokens_ == 0) fail(path, "offset 8: the shard holds zero tokens");
}

void Shard::open_with_index() {
  const MegatronIndex index = read_megatron_index(megatron_index_path(path()));
  header_bytes_ = 0;
  type_ = index.type;
  tokens_ = index.tokens;
  if (bytes() != file_.size()) {
    fail(path(), "expected " + std::to_string(bytes()) + " bytes by the index beside it, found " +
                     std::to_string(file_.size()) + "; copy both files again");
  }
}

void Shard::open_with_header() {
  const std::filesystem::path& path = file_.path();
  const std::int64_t size = file_.size();
  if (size < kShardHeaderBytes) {
    fail(path, "expected a token shard with a header of 1024 bytes, found a file of " +
                   std::to_string(size) + " bytes");
  }

  std::array<std::int32_t, 256> header{};
  read_bytes(std::as_writable_bytes(std::span(header)), 0);
  if (header[0] == kMagicUint16) {
    type_ = TokenType::uint16;
  } else if (header[0] == kMagicUint32) {
    type_ = TokenType::uint32;
  } else {
    fail(path,
         "offset 0: expected the magic number 20240520 (uint16) or 20240801 (uint32) of a "
         "token shard, found " +
             std::to_string(header[0]) + "; make shards with `ssmax prepare`");
  }
  const std::int32_t version = type_ == TokenType::uint16 ? kVersionUint16 : kVersionUint32;
  if (header[1] != version) {
    fail(path, "offset 4: expected version " + std::to_string(version) + ", found " +
                   std::to_string(header[1]));
  }

  const std::int64_t width = token_bytes(type_);
  tokens_ = (size - kShardHeaderBytes) / width;
  const std::uint64_t declared = static_cast<std::uint32_t>(header[2]) |
                                 (std::uint64_t{static_cast<std::uint32_t>(header[3])} << 32);
  const bool whole = (size - kShardHeaderBytes) % width == 0;
  const bool equal = header[3] == 0 ? static_cast<std::uint32_t>(tokens_) == declared
                                    : static_cast<std::uint64_t>(tokens_) == declared;
  if (!whole || !equal) {
    fail(path, "offset 8: the header declares " + std::to_string(declared) + " tokens of " +
                   std::to_string(width) + " bytes, but the file has " +
                   std::to_string(size - kShardHeaderBytes) +
                   " bytes after the header; it is truncated or damaged, copy it again");
  }
}

void Shard::read(std::span<std::int32_t> out, std::int64_t first, std::int64_t vocab_size) const {
  const std::int64_t count = std::ssize(out);
  if (first < 0 || first > tokens_ - count) {
    fail(path(), "has " + std::to_string(tokens_) + " tokens; [" + std::to_string(first) + ", " +
                     std::to_string(first + count) + ") was asked for");
  }
  const std::int64_t offset = header_bytes_ + first * token_bytes(type_);
  const std::span<std::byte> raw = std::as_writable_bytes(out);
  if (type_ == TokenType::uint32) {
    read_bytes(raw, offset);
  } else {
    // The narrow tokens lie in the upper half of `out` and are widened from the front, so that a
    // write never reaches a token that is still to be read.
    const std::span<std::byte> narrow = raw.subspan(raw.size() / 2);
    read_bytes(narrow, offset);
    for (std::size_t i = 0; i < out.size(); ++i) {
      std::uint16_t token = 0;
      std::memcpy(&token, narrow.data() + 2 * i, sizeof token);
      out[i] = token;
    }
  }
  const auto limit = static_cast<std::uint32_t>(std::clamp<std::int64_t>(vocab_size, 0, 1LL << 31));
  std::uint32_t largest = 0;
  for (const std::int32_t token : out)
    largest = std::max(largest, static_cast<std::uint32_t>(token));
  if (largest < limit) return;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto token = static_cast<std::uint32_t>(out[static_cast<std::size_t>(i)]);
    if (token < limit) continue;
    fail(path(), "offset " + std::to_string(offset + i * token_bytes(type_)) + ": token id " +
                     std::to_string(token) + " is not below the vocabulary size " +
                     std::to_string(vocab_size) +
                     "; set model.vocab_size to that of the tokenizer that made the shard");
  }
}

std::vector<std::filesystem::path> expand_globs(const std::vector<std::string>& patterns) {
  std::vector<std::filesystem::path> files;
  std::set<std::filesystem::path> seen;
  for (const std::string& pattern : patterns) {
    glob_t matches{};
    const int result = ::glob(pattern.c_str(), GLOB_TILDE, nullptr, &matches);
    std::vector<std::string> names(matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
    ::globfree(&matches);
    if (result != 0 || names.empty()) {
      throw Error(ErrorKind::data, "no file matches " + pattern + " (looked in " +
                                       std::filesystem::current_path().string() + ")");
    }
    // glob() sorts by the locale; the order of the shards must not depend on it.
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) {
      if (std::filesystem::is_directory(name)) {
        throw Error(ErrorKind::data,
                    name + " is a folder, expected files; name those in it, such as " +
                        (std::filesystem::path(name) / "train_*.bin").string());
      }
      if (!seen.insert(std::filesystem::weakly_canonical(name)).second) {
        throw Error(ErrorKind::data, name + " is named twice by the list of files");
      }
      files.emplace_back(name);
    }
  }
  return files;
}

}  // namespace ssmax::corpus
