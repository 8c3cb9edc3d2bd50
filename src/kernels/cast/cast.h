#pragma once

#include "kernels/op.h"

namespace ssmax::kernels {

/// out = x in out's dtype, rounded to nearest even; floating dtypes, same element count.
void cast(Stream& stream, const Tensor& out, const ConstTensor& x);

/// out = a + b elementwise, one dtype; out may alias either.
void add(Stream& stream, const Tensor& out, const ConstTensor& a, const ConstTensor& b);

}  // namespace ssmax::kernels
