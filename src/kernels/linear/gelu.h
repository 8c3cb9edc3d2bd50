#pragma once

#include "kernels/op.h"

namespace ssmax::kernels {

// Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, the tanh form that GPT-2 uses.

/// out = gelu(x), same shape and dtype.
void gelu(Stream& stream, const Tensor& out, const ConstTensor& x);

/// dx = dout gelu'(x); may alias dout or x.
void gelu_backward(Stream& stream, const Tensor& dx, const ConstTensor& dout, const ConstTensor& x);

}  // namespace ssmax::kernels
