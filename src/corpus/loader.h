#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "corpus/data_config.h"
#include "corpus/shard_samples.h"
#include "corpus/supervised.h"

namespace ssmax::corpus {

enum class Order { shuffled, sequential };

/// Stands where nothing is to be predicted.
inline constexpr std::int32_t kNoTarget = -1;

struct LoaderOptions {
  DataKind kind = DataKind::stream;
  std::vector<std::string> files;       // shards or globs of shards; JSON Lines of examples
  std::string tokenizer;                // of examples; as for Tokenizer::named()
  std::int64_t sequence_length = 1024;  // T
  std::int64_t batch_sequences = 1;     // B, per call of next() and per rank
  std::int64_t least_samples = 0;       // that the files must hold; 0: a batch of all ranks
  std::int64_t vocab_size = 0;          // every token id must be below it
  std::uint64_t seed = 0;               // of the shuffle
  Order order = Order::shuffled;
  std::int64_t rank = 0;  // 0 <= rank < ranks
  std::int64_t ranks = 1;
  bool document_mask = false;     // fill Batch::first_key
  std::int64_t end_of_text = -1;  // id in front of each document; -1: see default_end_of_text()
};

/// A loader over `files` in their order, with the sequence length and the document mask of `data`.
LoaderOptions sequential_loader(const DataConfig& data, const std::vector<std::string>& files,
                                std::int64_t vocab_size, std::int64_t batch_sequences);

/// One rank's part of one global batch. The arrays belong to the loader and stay valid until its
/// next call of next() or seek().
struct Batch {
  std::int64_t sequences = 0;               // B
  std::int64_t length = 0;                  // T
  std::span<const std::int32_t> tokens;     // (B, T)
  std::span<const std::int32_t> targets;    // (B, T), the token after each, or kNoTarget
  std::span<const std::int32_t> first_key;  // (B, T), empty without document_mask: position within
                                            // the row of the first token of the query's document
};

/// Reads batches of samples from token shards or examples.
///
/// Sample: see ShardSamples and SupervisedSamples; n is their number.
/// Order: the sample with global index i is sample permutation(seed, i / n)(i mod n), or i mod n
/// when sequential. It depends on nothing else, so the position is one integer.
/// Ranks: global batch g is the samples [g B R, (g + 1) B R); rank r takes the r-th run of B.
///
/// The next batch is read by a background thread; its errors are thrown by next(), with kind data.
class Loader {
 public:
  /// Opens and checks every file; Error(data) when they hold fewer samples than the least, B R. A
  /// batch that is larger than they are goes on at their beginning.
  explicit Loader(const LoaderOptions& options);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// The batch at position(), which then advances by B R. After an error the position is unchanged.
  Batch next();

  /// Global sample index of the first sample of the next global batch; the same on every rank.
  std::int64_t position() const { return position_; }
  void seek(std::int64_t position);

  /// Samples of one epoch, n.
  std::int64_t samples() const { return samples_; }
  std::int64_t epoch() const { return position_ / samples_; }
  std::int64_t tokens() const { return tokens_; }
  /// Targets that count among the next `count` samples of all ranks.
  std::int64_t targets(std::int64_t count) const;
  std::int64_t end_of_text() const { return options_.end_of_text; }
  const LoaderOptions& options() const { return options_; }

  /// 32 hexadecimal digits that change with the files (see the samples), and not with seed, T, B or
  /// the ranks.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  struct Buffer {
    std::int64_t position = -1;  // -1: nothing read
    std::vector<std::int32_t> tokens, targets, first_key;
    std::exception_ptr error;
  };

  void fill(Buffer& buffer) const;
  std::int64_t sample_at(std::int64_t global) const;
  void mark_documents(std::span<std::int32_t> first_key,
                      std::span<const std::int32_t> tokens) const;
  void request(std::int64_t position);
  void wait();
  void run();

  LoaderOptions options_;
  std::optional<std::variant<ShardSamples, SupervisedSamples>> source_;
  std::int64_t samples_ = 0;
  std::int64_t tokens_ = 0;
  std::string fingerprint_;
  std::int64_t position_ = 0;

  Buffer current_, ahead_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool requested_ =
      false;  // guarded by mutex_, as is stop_; ahead_ belongs to the thread while set
  bool stop_ = false;
  std::thread thread_;
};

/// Where `index` of [0, count) goes in the shuffle of an epoch: a bijection of [0, count) and a
/// pure function of its arguments. A Feistel network over the smallest even number of bits that
/// holds count, with Philox as round function, walked until the result is below count (Black and
/// Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002).
std::int64_t shuffled_index(std::uint64_t seed, std::int64_t epoch, std::int64_t index,
                            std::int64_t count);

}  // namespace ssmax::corpus
