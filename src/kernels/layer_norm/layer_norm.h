#pragma once

#include "kernels/op.h"

namespace ssmax::kernels {

// M rows, C channels. Ba, Kiros and Hinton, "Layer Normalization", 2016, eq. 3-4.

/// Row statistics that the backward needs, f32 (f64 for f64).
struct LayerNormSaved {
  Tensor mean;  // (M)
  Tensor rstd;  // (M)
};

/// y = (x - mean) rstd weight + bias with biased variance; bias (C) may be empty. x, y (M, C);
/// weight, bias of their dtype. y may alias x.
void layer_norm(Stream& stream, const Tensor& y, const LayerNormSaved& saved, const ConstTensor& x,
                const ConstTensor& weight, const ConstTensor& bias, double eps);

/// sum = x + delta, y = layer_norm(sum), in one pass. sum may alias x.
void add_layer_norm(Stream& stream, const Tensor& sum, const Tensor& y, const LayerNormSaved& saved,
                    const ConstTensor& x, const ConstTensor& delta, const ConstTensor& weight,
                    const ConstTensor& bias, double eps);

/// dx (M, C) = or +=; dweight (C), dbias (C, may be empty) f32 (f64 for f64) +=. x is the norm's
/// input. Sums over rows run in a fixed order.
void layer_norm_backward(Stream& stream, const Tensor& dx, const Tensor& dweight,
                         const Tensor& dbias, const ConstTensor& dy, const ConstTensor& x,
                         const ConstTensor& weight, const LayerNormSaved& saved, Write write);

}  // namespace ssmax::kernels
