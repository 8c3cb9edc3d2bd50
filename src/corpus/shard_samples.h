#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "corpus/shard.h"

namespace ssmax::corpus {

/// Samples of T + 1 consecutive tokens of one shard.
class ShardSamples {
 public:
  /// Which T + 1 tokens are samples.
  enum class Cut {
    stream,     ///< those from every T-th token of a shard on, whatever documents they meet
    documents,  ///< those from every T-th token of a document on that lie within it; the first of
                ///< every document come first, then the second
  };

  /// Opens and checks every shard. `end_of_text` is what stands in front of each document, -1 for
  /// default_end_of_text().
  ShardSamples(std::span<const std::filesystem::path> files, std::int64_t sequence_length,
               std::int64_t vocab_size, std::int64_t end_of_text, Cut cut);

  std::int64_t samples() const { return samples_; }
  std::int64_t tokens() const { return tokens_; }
  std::int64_t end_of_text() const { return end_of_text_; }
  /// 32 hexadecimal digits that change with the files' names (without folders), sizes, headers and
  /// content (16 blocks of 4 KiB of each file).
  const std::string& fingerprint() const { return fingerprint_; }

  /// All targets count: T.
  std::int64_t targets(std::int64_t /*sample*/) const { return sequence_length_; }
  void read(std::span<std::int32_t> tokens, std::span<std::int32_t> targets,
            std::int64_t sample) const;

 private:
  /// Where a sample begins.
  struct Place {
    std::size_t shard = 0;
    std::int64_t token = 0;
  };

  void cut_stream();
  void cut_documents();
  Place place(std::int64_t sample) const;

  std::vector<Shard> shards_;
  std::int64_t sequence_length_;
  std::int64_t vocab_size_;
  std::int64_t end_of_text_;
  std::vector<std::int64_t> first_sample_;  // of each shard, ascending, and the count: stream
  std::vector<Place> places_;               // of each sample: documents
  std::int64_t samples_ = 0;
  std::int64_t tokens_ = 0;
  std::string fingerprint_;
};

/// The end-of-text id of a shard: that of manifest.json in its folder, else what the format's
/// first users write: 50256 (GPT-2) for uint16 tokens, 128000 (Llama 3) for uint32.
std::int64_t default_end_of_text(const Shard& shard);

}  // namespace ssmax::corpus
