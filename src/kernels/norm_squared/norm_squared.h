#pragma once

#include "kernels/op.h"

namespace ssmax::kernels {

/// out (1) f64 = sum of x^2 over all elements in a fixed order that does not depend on threads.
/// x f32 or f64. Not finite when any element is not.
void norm_squared(Stream& stream, const Tensor& out, const ConstTensor& x);

/// gradient_scale (1) of the gradients' dtype = min(1, max_norm / sqrt(norm_squared)); 1 when
/// max_norm is 0 (no clipping); NaN when norm_squared is not finite, which makes adamw skip.
void clip_scale(Stream& stream, const Tensor& gradient_scale, const ConstTensor& norm_squared,
                double max_norm);

}  // namespace ssmax::kernels
