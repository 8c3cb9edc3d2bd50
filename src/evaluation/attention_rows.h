#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "corpus/needle.h"
#include "model/model.h"

namespace ssmax::evaluation {

using device::Stream;

/// The attention of one query of every sequence in every head of a block: weights (B, H, n), which
/// need not sum to one. Memory grows with n alone.
struct AttentionRow {
  int block = 0;
  std::int64_t batch = 0;
  std::int64_t heads = 0;
  std::int64_t keys = 0;            // n
  std::span<const double> weights;  // (B, H, n), by position

  std::span<const double> of(std::int64_t b, std::int64_t h) const {
    return weights.subspan(static_cast<std::size_t>((b * heads + h) * keys),
                           static_cast<std::size_t>(keys));
  }
};

/// Weighs the rows of passes of one position again, with the model's own normalizer.
class AttentionRows {
 public:
  using See = std::function<void(const AttentionRow& row)>;

  /// `capacity`: positions of the KV cache that the passes use.
  AttentionRows(const model::Model& model, std::int64_t batch, std::int64_t capacity,
                device::Arena& arena);

  /// For KvDecoder::feed with one token per sequence; `see` is called for each block.
  model::AttentionVisitor visitor(Stream& stream, See see);

 private:
  const model::Model& model_;
  device::Tensor weights_;  // (B, H, 1, capacity) in the dtype of the statistics
  device::Tensor wide_;     // the same, f64
  std::vector<double> host_;
};

/// Weight on the keys of `span`.
double weight_on(std::span<const double> weights, corpus::TokenSpan span);

/// How spread a row is.
struct RowSpread {
  double sum = 0.0;
  double maximum = 0.0;
  double entropy = 0.0;  ///< nats, of |weight| / sum |weight|; 0 when all weights are 0
};
RowSpread spread_of(std::span<const double> weights);

}  // namespace ssmax::evaluation
