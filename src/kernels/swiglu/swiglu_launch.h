#pragma once

#include "kernels/swiglu/swiglu.h"

namespace ssmax::kernels {

namespace cpu {
void swiglu(Stream& stream, const Tensor& out, const ConstTensor& gate_up);
void swiglu_backward(Stream& stream, const Tensor& dgate_up, const ConstTensor& dout,
                     const ConstTensor& gate_up);
}  // namespace cpu

namespace cuda {
[[gnu::weak]] void swiglu(Stream& stream, const Tensor& out, const ConstTensor& gate_up);
[[gnu::weak]] void swiglu_backward(Stream& stream, const Tensor& dgate_up, const ConstTensor& dout,
                                   const ConstTensor& gate_up);
}  // namespace cuda

}  // namespace ssmax::kernels
