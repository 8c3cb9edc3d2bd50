#pragma once

#include "kernels/linear/gelu.h"

namespace ssmax::kernels {

namespace cpu {
void gelu(Stream& stream, const Tensor& out, const ConstTensor& x);
void gelu_backward(Stream& stream, const Tensor& dx, const ConstTensor& dout, const ConstTensor& x);
}  // namespace cpu

namespace cuda {
[[gnu::weak]] void gelu(Stream& stream, const Tensor& out, const ConstTensor& x);
[[gnu::weak]] void gelu_backward(Stream& stream, const Tensor& dx, const ConstTensor& dout,
                                 const ConstTensor& x);
}  // namespace cuda

}  // namespace ssmax::kernels
