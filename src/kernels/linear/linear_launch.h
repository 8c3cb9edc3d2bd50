#pragma once

#include "kernels/linear/linear.h"

namespace ssmax::kernels {

namespace cpu {
void linear(Stream& stream, const Tensor& y, const ConstTensor& x, const ConstTensor& weight,
            const ConstTensor& bias, Write write);
void linear_input_gradient(Stream& stream, const Tensor& dx, const ConstTensor& dy,
                           const ConstTensor& weight, Write write);
void linear_weight_gradient(Stream& stream, const Tensor& dweight, const Tensor& dbias,
                            const ConstTensor& dy, const ConstTensor& x);
GeluForm linear_gelu(Stream& stream, const Tensor& y, const Tensor& preactivation,
                     const ConstTensor& x, const ConstTensor& weight, const ConstTensor& bias);
GeluForm gelu_linear_input_gradient(Stream& stream, const Tensor& dx, const ConstTensor& dy,
                                    const ConstTensor& weight, const ConstTensor& preactivation);
}  // namespace cpu

namespace cuda {
[[gnu::weak]] void linear(Stream& stream, const Tensor& y, const ConstTensor& x,
                          const ConstTensor& weight, const ConstTensor& bias, Write write);
[[gnu::weak]] void linear_input_gradient(Stream& stream, const Tensor& dx, const ConstTensor& dy,
                                         const ConstTensor& weight, Write write);
[[gnu::weak]] void linear_weight_gradient(Stream& stream, const Tensor& dweight,
                                          const Tensor& dbias, const ConstTensor& dy,
                                          const ConstTensor& x);
[[gnu::weak]] GeluForm linear_gelu(Stream& stream, const Tensor& y, const Tensor& preactivation,
                                   const ConstTensor& x, const ConstTensor& weight,
                                   const ConstTensor& bias);
[[gnu::weak]] GeluForm gelu_linear_input_gradient(Stream& stream, const Tensor& dx,
                                                  const ConstTensor& dy, const ConstTensor& weight,
                                                  const ConstTensor& preactivation);
/// Of the stream's workspace.
[[gnu::weak]] std::int64_t linear_workspace_bytes(std::int64_t M, std::int64_t biases);
}  // namespace cuda

}  // namespace ssmax::kernels
