#pragma once

#include "kernels/op.h"

namespace ssmax::kernels {

// M rows, V vocabulary, S >= V: rows of logits may have columns behind the vocabulary, which count
// for nothing.

/// A target that counts for nothing: loss 0, gradient 0.
inline constexpr std::int32_t kIgnoredTarget = -1;

/// losses (M) f32 (f64 for f64) = logsumexp(logits) - logits[target], nats. logits (M, S), targets
/// (M) i32 in [0, V) or kIgnoredTarget.
void cross_entropy(Stream& stream, const Tensor& losses, const ConstTensor& logits,
                   const ConstTensor& targets, std::int64_t vocabulary);

/// The same, and logits become scale * d loss / d logits in place, 0 behind the vocabulary.
void cross_entropy_with_gradient(Stream& stream, const Tensor& losses, const Tensor& logits,
                                 const ConstTensor& targets, std::int64_t vocabulary, double scale);

}  // namespace ssmax::kernels
