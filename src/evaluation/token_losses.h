#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "corpus/loader.h"
#include "corpus/tokenizer.h"
#include "model/model.h"

namespace ssmax::evaluation {

using device::Stream;

/// Per-token losses of one batch, on the host.
struct BatchLosses {
  std::int64_t sequences = 0;             // B
  std::int64_t length = 0;                // T
  std::span<const double> losses;         // (B, T) nats
  std::span<const std::int32_t> targets;  // (B, T)
};

/// Where batches of a loader stand on the device that computes.
class DeviceBatch {
 public:
  /// `batch` sequences of `length` tokens.
  DeviceBatch(std::int64_t batch, std::int64_t length, device::Arena& arena);

  /// Replaces the batch before.
  model::TokenBatch upload(Stream& stream, const corpus::Batch& batch) const;

 private:
  device::Tensor tokens_, targets_, first_key_;  // (B, T) i32
};

/// Runs a model over batches of a loader. The activations' (B, T) must be the loader's.
class TokenLosses {
 public:
  TokenLosses(const model::Model& model, model::Activations& activations, device::Arena& arena);

  /// Losses of the loader's next batch; valid until the next call.
  BatchLosses next(Stream& stream, corpus::Loader& loader);

 private:
  const model::Model& model_;
  model::Activations& activations_;
  DeviceBatch batch_;
  std::vector<double> losses_;
};

struct LossSum {
  double nats = 0.0;
  std::int64_t tokens = 0;
};

/// Losses of the first `sequences` of batch `index` of a sequential loader.
LossSum batch_loss(Stream& stream, TokenLosses& source, corpus::Loader& loader, std::int64_t index,
                   std::int64_t sequences);

struct LossReport {
  std::int64_t tokens = 0;
  std::int64_t bytes = 0;  ///< of text behind the targets; 0 when no tokenizer is known
  double nats_per_token = 0.0;
  double standard_error = 0.0;  ///< over sequences
  double bits_per_byte() const;
};

/// Mean and standard error of values that come one by one.
struct Moments {
  double sum = 0.0;
  double squares = 0.0;
  std::int64_t count = 0;

  void add(double value);
  double mean() const;
  double standard_error() const;  ///< of the mean; 0 below two values
};

/// Mean loss of the positions [begin, end).
struct PositionBand {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  double mean = 0.0;
  double standard_error = 0.0;  ///< of the mean, over sequences
  double low = 0.0;             ///< 95 % interval by Student's t
  double high = 0.0;
};

/// Loss of each position, averaged over sequences.
struct PositionReport {
  std::int64_t sequences = 0;
  std::vector<double> mean;            // (T) nats
  std::vector<double> standard_error;  // (T) over sequences
  std::vector<PositionBand> bands;     // position_bands(T)
};

/// Bands for T positions: 0 .. 15, then two to each doubling.
std::vector<PositionBand> position_bands(std::int64_t length);

/// Bytes of text that a token stands for.
using TokenBytes = std::function<std::int64_t(std::int32_t token)>;

/// By that tokenizer; special tokens have none. It throws Error(data) at an id that the tokenizer
/// does not have.
TokenBytes token_bytes(const corpus::Tokenizer& tokenizer);

/// Collects batches into both reports; what has no target does not count.
class LossStatistics {
 public:
  explicit LossStatistics(std::int64_t length);

  void add(const BatchLosses& batch, const TokenBytes& bytes);
  LossReport loss() const;
  PositionReport positions() const;
  std::int64_t sequences() const { return sequences_; }

 private:
  std::vector<Moments> positions_;  // (T)
  std::vector<PositionBand> bands_;
  std::vector<Moments> band_means_;  // of each sequence's mean in the band
  Moments sequence_means_;
  double sum_ = 0.0;
  std::int64_t tokens_ = 0;
  std::int64_t sequences_ = 0;
  std::int64_t bytes_ = 0;
};

/// Losses of the loader's next `sequences`, a multiple of its batch. `bytes` may be empty;
/// `progress` is told the tokens of every batch.
LossStatistics measure_losses(Stream& stream, const model::Model& model, corpus::Loader& loader,
                              std::int64_t sequences, const TokenBytes& bytes,
                              const std::function<void(std::int64_t tokens)>& progress);

}  // namespace ssmax::evaluation
