#include "corpus/shard_samples.h"

#include <sys/resource.h>

#include <algorithm>

#include "base/hash.h"
#include "corpus/manifest.h"

namespace ssmax::corpus {

namespace {

/// Every shard stays open, and a large data set has more of them than the usual soft limit of 1024.
void allow_open_files(std::size_t count) {
  rlimit limit{};
  const std::size_t others = 256;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= count + others) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::string hash_of(const std::vector<Shard>& shards) {
  constexpr std::int64_t kBlocks = 16;
  constexpr std::int64_t kBlockBytes = 4096;
  base::Hasher hasher;
  std::vector<std::byte> block;
  for (const Shard& shard : shards) {
    const std::string name = shard.path().filename().string();
    const std::int64_t size = shard.bytes();
    hasher.update(name + " " + std::to_string(size) + "\n");
    // The first block holds the header, the last one the end of the file.
    for (std::int64_t i = 0; i < kBlocks; ++i) {
      const std::int64_t last = std::max<std::int64_t>(size - kBlockBytes, 0);
      // Whole part and remainder apart: the product of a large size and i must not overflow.
      const std::int64_t offset =
          last / (kBlocks - 1) * i + last % (kBlocks - 1) * i / (kBlocks - 1);
      block.resize(static_cast<std::size_t>(std::min(kBlockBytes, size)));
      shard.read_bytes(block, offset);
      hasher.update(block);
    }
  }
  return hasher.hex();
}

/// Where a manifest beside the shards says how many token ids there are, a vocabulary that is too
/// small shows at once and not at the first id beyond it.
void check_vocabulary(std::span<const std::filesystem::path> files, std::int64_t vocab_size) {
  std::filesystem::path checked;
  for (const std::filesystem::path& file : files) {
    const std::filesystem::path folder = file.parent_path();
    if (&file != &files.front() && folder == checked) continue;
    checked = folder;
    const std::optional<Manifest> manifest = read_manifest(folder);
    if (!manifest || manifest->vocab_size <= vocab_size) continue;
    throw base::Error(base::ErrorKind::data,
                      (folder / kManifestName).string() + ": the shards are of a vocabulary of " +
                          std::to_string(manifest->vocab_size) + " tokens, the model has " +
                          std::to_string(vocab_size) +
                          "; set model.vocab_size to at least that, or name other shards");
  }
}

}  // namespace

ShardSamples::ShardSamples(std::span<const std::filesystem::path> files,
                           std::int64_t sequence_length, std::int64_t vocab_size,
                           std::int64_t end_of_text, Cut cut)
    : sequence_length_(sequence_length), vocab_size_(vocab_size), end_of_text_(end_of_text) {
  allow_open_files(files.size());
  for (const std::filesystem::path& path : files) shards_.emplace_back(path);
  check_vocabulary(files, vocab_size_);
  for (const Shard& shard : shards_) tokens_ += shard.tokens();
  if (end_of_text_ < 0) end_of_text_ = default_end_of_text(shards_.front());
  if (cut == Cut::stream) {
    cut_stream();
  } else {
    cut_documents();
  }
  fingerprint_ = hash_of(shards_);
}

void ShardSamples::cut_stream() {
  first_sample_.push_back(0);
  for (const Shard& shard : shards_) {
    first_sample_.push_back(first_sample_.back() + (shard.tokens() - 1) / sequence_length_);
  }
  samples_ = first_sample_.back();
}

void ShardSamples::cut_documents() {
  constexpr std::int64_t kBlock = std::int64_t{1} << 20;
  std::vector<std::pair<std::int64_t, Place>> found;  // number within the document, place
  std::vector<std::int32_t> block;
  for (std::size_t s = 0; s < shards_.size(); ++s) {
    const Shard& shard = shards_[s];
    std::int64_t begin = 0;
    const auto end_document = [&](std::int64_t end) {
      for (std::int64_t i = 0; begin + (i + 1) * sequence_length_ + 1 <= end; ++i) {
        found.push_back({i, {s, begin + i * sequence_length_}});
      }
      begin = end;
    };
    for (std::int64_t at = 0; at < shard.tokens(); at += kBlock) {
      block.resize(static_cast<std::size_t>(std::min(kBlock, shard.tokens() - at)));
      shard.read(block, at, vocab_size_);
      for (std::size_t i = 0; i < block.size(); ++i) {
        if (block[i] == end_of_text_) end_document(at + static_cast<std::int64_t>(i));
      }
    }
    end_document(shard.tokens());
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [number, place] : found) places_.push_back(place);
  samples_ = static_cast<std::int64_t>(places_.size());
}

ShardSamples::Place ShardSamples::place(std::int64_t sample) const {
  if (!places_.empty()) return places_[static_cast<std::size_t>(sample)];
  const auto after = std::upper_bound(first_sample_.begin(), first_sample_.end(), sample);
  const auto shard = static_cast<std::size_t>(after - first_sample_.begin() - 1);
  return {shard, (sample - first_sample_[shard]) * sequence_length_};
}

void ShardSamples::read(std::span<std::int32_t> tokens, std::span<std::int32_t> targets,
                        std::int64_t sample) const {
  const Place from = place(sample);
  const Shard& shard = shards_[from.shard];
  shard.read(tokens, from.token, vocab_size_);
  std::copy(tokens.begin() + 1, tokens.end(), targets.begin());
  shard.read(targets.last(1), from.token + std::ssize(tokens), vocab_size_);
}

std::int64_t default_end_of_text(const Shard& shard) {
  const auto folder = shard.path().parent_path();
  if (const auto manifest = read_manifest(folder.empty() ? "." : folder)) {
    return manifest->end_of_text;
  }
  return shard.type() == TokenType::uint16 ? 50256 : 128000;
}

}  // namespace ssmax::corpus
