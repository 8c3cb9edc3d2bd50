#pragma once

#include "kernels/layer_norm/layer_norm.h"

namespace ssmax::kernels {

namespace cpu {
void layer_norm(Stream& stream, const Tensor& y, const LayerNormSaved& saved, const ConstTensor& x,
                const ConstTensor& weight, const ConstTensor& bias, double eps);
void add_layer_norm(Stream& stream, const Tensor& sum, const Tensor& y, const LayerNormSaved& saved,
                    const ConstTensor& x, const ConstTensor& delta, const ConstTensor& weight,
                    const ConstTensor& bias, double eps);
void layer_norm_backward(Stream& stream, const Tensor& dx, const Tensor& dweight,
                         const Tensor& dbias, const ConstTensor& dy, const ConstTensor& x,
                         const ConstTensor& weight, const LayerNormSaved& saved, Write write);
}  // namespace cpu

namespace cuda {
[[gnu::weak]] void layer_norm(Stream& stream, const Tensor& y, const LayerNormSaved& saved,
                              const ConstTensor& x, const ConstTensor& weight,
                              const ConstTensor& bias, double eps);
[[gnu::weak]] void add_layer_norm(Stream& stream, const Tensor& sum, const Tensor& y,
                                  const LayerNormSaved& saved, const ConstTensor& x,
                                  const ConstTensor& delta, const ConstTensor& weight,
                                  const ConstTensor& bias, double eps);
[[gnu::weak]] void layer_norm_backward(Stream& stream, const Tensor& dx, const Tensor& dweight,
                                       const Tensor& dbias, const ConstTensor& dy,
                                       const ConstTensor& x, const ConstTensor& weight,
                                       const LayerNormSaved& saved, Write write);
}  // namespace cuda

}  // namespace ssmax::kernels
