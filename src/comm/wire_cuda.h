#pragma once

#include "device/stream.h"

// Included by files of the CUDA backend only.

namespace ssmax::comm::cuda {

/// out (bf16) = x (f32), rounded to nearest even. Same element count.
void narrow(device::Stream& stream, const device::Tensor& out, const device::ConstTensor& x);
/// out (f32) = x (bf16).
void widen(device::Stream& stream, const device::Tensor& out, const device::ConstTensor& x);

}  // namespace ssmax::comm::cuda
