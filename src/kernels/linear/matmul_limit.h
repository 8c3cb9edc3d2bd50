#pragma once

#include "kernels/op.h"

namespace ssmax::kernels {

/// What this machine's matrix product reaches now: the best of several squares of 2048 x 2048, in
/// multiply-and-add operations times two per second / 1e9. f32 or bf16. Takes about half a second.
double measured_matmul_limit(Stream& stream, DType dtype);

}  // namespace ssmax::kernels
