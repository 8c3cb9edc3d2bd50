#pragma once

#include "kernels/op.h"

namespace ssmax::kernels {

// M rows, C channels. Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019, eq. 4.

/// y = x rstd weight with rstd = 1 / sqrt(mean x^2 + eps). x, y (M, C); weight (C) of their dtype;
/// rstd (M) f32 (f64 for f64) is saved for the backward. y may alias x.
void rms_norm(Stream& stream, const Tensor& y, const Tensor& rstd, const ConstTensor& x,
              const ConstTensor& weight, double eps);

/// sum = x + delta, y = rms_norm(sum), in one pass. sum may alias x.
void add_rms_norm(Stream& stream, const Tensor& sum, const Tensor& y, const Tensor& rstd,
                  const ConstTensor& x, const ConstTensor& delta, const ConstTensor& weight,
                  double eps);

/// dx (M, C) = or += the gradient through y; dweight (C) f32 (f64 for f64) +=. x is the norm's
/// input. Sums over rows run in a fixed order.
void rms_norm_backward(Stream& stream, const Tensor& dx, const Tensor& dweight,
                       const ConstTensor& dy, const ConstTensor& x, const ConstTensor& weight,
                       const ConstTensor& rstd, Write write);

}  // namespace ssmax::kernels
