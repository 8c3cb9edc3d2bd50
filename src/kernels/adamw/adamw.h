#pragma once

#include <span>

#include "kernels/op.h"

namespace ssmax::kernels {

/// A range of the flat arrays that shares its constants for one step.
struct AdamwSegment {
  std::int64_t begin = 0;  // elements
  std::int64_t end = 0;
  double weight_decay = 0.0;      // lambda; 0 where nothing decays
  double bias_correction1 = 1.0;  // 1 - beta1^t
  double bias_correction2 = 1.0;  // 1 - beta2^t
};

struct AdamwConstants {
  double learning_rate = 0.0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
};

/// Flat arrays of one length: weights, moments, gradients f32 (f64 for f64).
struct AdamwArrays {
  Tensor weights;
  Tensor first_moment;
  Tensor second_moment;
  Tensor compute;  ///< bf16 copy of the weights to refresh in the same pass, or empty
  ConstTensor gradients;
};

/// Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2: one pass over
/// every segment. gradient_scale holds one value (f32, f64 for f64) that multiplies every gradient
/// (the clipping factor); when it is not finite nothing is written.
void adamw(Stream& stream, const AdamwArrays& arrays, const ConstTensor& gradient_scale,
           std::span<const AdamwSegment> segments, const AdamwConstants& constants);

}  // namespace ssmax::kernels
