#pragma once

#include "kernels/op.h"

namespace ssmax::kernels {

/// What this machine's matrix product reaches now, FLOP/s (a multiplication and an addition are
/// two): the best of several of a size that fills the device. f32 or bf16. Takes about 0.2 s.
double measured_matmul_limit(Stream& stream, DType dtype);

}  // namespace ssmax::kernels
