#pragma once

#include "kernels/norm_squared/norm_squared.h"

namespace ssmax::kernels {

namespace cpu {
void norm_squared(Stream& stream, const Tensor& out, const ConstTensor& x);
void clip_scale(Stream& stream, const Tensor& gradient_scale, const ConstTensor& norm_squared,
                double max_norm);
}  // namespace cpu

namespace cuda {
[[gnu::weak]] void norm_squared(Stream& stream, const Tensor& out, const ConstTensor& x);
[[gnu::weak]] void clip_scale(Stream& stream, const Tensor& gradient_scale,
                              const ConstTensor& norm_squared, double max_norm);
}  // namespace cuda

}  // namespace ssmax::kernels
