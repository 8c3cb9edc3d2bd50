#pragma once

#include "kernels/cast/cast.h"

namespace ssmax::kernels {

namespace cpu {
void cast(Stream& stream, const Tensor& out, const ConstTensor& x);
void add(Stream& stream, const Tensor& out, const ConstTensor& a, const ConstTensor& b);
}  // namespace cpu

namespace cuda {
[[gnu::weak]] void cast(Stream& stream, const Tensor& out, const ConstTensor& x);
[[gnu::weak]] void add(Stream& stream, const Tensor& out, const ConstTensor& a,
                       const ConstTensor& b);
}  // namespace cuda

}  // namespace ssmax::kernels
