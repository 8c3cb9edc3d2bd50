#pragma once

#include <functional>
#include <span>
#include <vector>

#include "model/model.h"

namespace ssmax::model {

/// How the next token is drawn.
struct SamplingOptions {
  double temperature = 1.0;  ///< 0 takes the most likely token
  std::int64_t top_k = 0;    ///< 0 keeps all
  double top_p = 1.0;        ///< keeps the most likely tokens up to this share
  std::uint64_t seed = 0;
};

/// A token id from logits (V); a pure function of logits, options and the index of the draw. Ties
/// go to the smaller id.
std::int32_t sample_token(std::span<const float> logits, const SamplingOptions& options,
                          std::uint64_t index);

/// Told the new positions of each sequence, pass after pass.
using FeedProgress = std::function<void(std::int64_t positions)>;

/// Runs a model token by token with keys and values kept: B sequences of equal length side by side.
class KvDecoder {
 public:
  /// `capacity`: positions that fit; `chunk`: most new positions of one pass. Memory: capacity
  /// times layers, plus one chunk of activations.
  KvDecoder(const Model& model, std::int64_t batch, std::int64_t capacity, Arena& arena,
            std::int64_t chunk = 64);

  std::int64_t batch() const { return batch_; }
  std::int64_t position() const { return position_; }
  std::int64_t capacity() const { return capacity_; }

  /// Forgets everything behind `position`.
  void rewind(std::int64_t position);

  /// Feeds (B, T) tokens, row-major. Returns logits (B, V) of the last one, f32; valid until the
  /// next call. `visit` sees the attention of every pass and may be empty. Errors: ErrorKind::usage
  /// when the capacity is exceeded.
  std::span<const float> feed(Stream& stream, std::span<const std::int32_t> tokens,
                              const AttentionVisitor& visit = {},
                              const FeedProgress& progress = {});

 private:
  void feed_chunk(Stream& stream, Activations& activations, std::span<const std::int32_t> tokens,
                  std::int64_t first, std::int64_t row_length, const AttentionVisitor& visit);

  const Model& model_;
  std::int64_t batch_;
  std::int64_t capacity_;
  std::int64_t position_ = 0;
  std::vector<Activations> passes_;  // of falling length, a quarter of the one before, down to one
  std::vector<BlockCache> caches_;
  Tensor tokens_;       // (B, chunk) i32 on the device
  Tensor last_hidden_;  // (B, C)
  Tensor logits_;       // (B, V)
  std::vector<float> host_logits_;
  std::vector<std::int32_t> host_tokens_;
};

}  // namespace ssmax::model
