#pragma once

#include "kernels/rms_norm/rms_norm.h"

namespace ssmax::kernels {

namespace cpu {
void rms_norm(Stream& stream, const Tensor& y, const Tensor& rstd, const ConstTensor& x,
              const ConstTensor& weight, double eps);
void add_rms_norm(Stream& stream, const Tensor& sum, const Tensor& y, const Tensor& rstd,
                  const ConstTensor& x, const ConstTensor& delta, const ConstTensor& weight,
                  double eps);
void rms_norm_backward(Stream& stream, const Tensor& dx, const Tensor& dweight,
                       const ConstTensor& dy, const ConstTensor& x, const ConstTensor& weight,
                       const ConstTensor& rstd, Write write);
}  // namespace cpu

namespace cuda {
[[gnu::weak]] void rms_norm(Stream& stream, const Tensor& y, const Tensor& rstd,
                            const ConstTensor& x, const ConstTensor& weight, double eps);
[[gnu::weak]] void add_rms_norm(Stream& stream, const Tensor& sum, const Tensor& y,
                                const Tensor& rstd, const ConstTensor& x, const ConstTensor& delta,
                                const ConstTensor& weight, double eps);
[[gnu::weak]] void rms_norm_backward(Stream& stream, const Tensor& dx, const Tensor& dweight,
                                     const ConstTensor& dy, const ConstTensor& x,
                                     const ConstTensor& weight, const ConstTensor& rstd,
                                     Write write);
}  // namespace cuda

}  // namespace ssmax::kernels
