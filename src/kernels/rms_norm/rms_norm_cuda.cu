#include "kernels/norm_rows_cuda.cuh"
#include "kernels/rms_norm/rms_norm_launch.h"

namespace ssmax::kernels::cuda {

void rms_norm(Stream& stream, const Tensor& y, const Tensor& rstd, const ConstTensor& x,
              const ConstTensor& weight, double eps) {
  cuda::add_rms_norm(stream, {}, y, rstd, x, {}, weight, eps);
}

void add_rms_norm(Stream& stream, const Tensor& sum, const Tensor& y, const Tensor& rstd,
                  const ConstTensor& x, const ConstTensor& delta, const ConstTensor& weight,
                  double eps) {
  dispatch(x.dtype(), "rms_norm", [&]<class T>(device::Tag<T>) {
    norm_forward<Center::none>(stream, NormForward<T>{.sum = sum.empty() ? nullptr : sum.data<T>(),
                                                      .y = y.data<T>(),
                                                      .mean = nullptr,
                                                      .rstd = rstd.data<float>(),
                                                      .x = x.data<T>(),
                                                      .delta = data_or_null<T>(delta),
                                                      .weight = weight.data<T>(),
                                                      .bias = nullptr,
                                                      .M = row_count(x),
                                                      .C = row_size(x),
                                                      .eps = static_cast<float>(eps)});
  });
}

void rms_norm_backward(Stream& stream, const Tensor& dx, const Tensor& dweight,
                       const ConstTensor& dy, const ConstTensor& x, const ConstTensor& weight,
                       const ConstTensor& rstd, Write write) {
  dispatch(x.dtype(), "rms_norm_backward", [&]<class T>(device::Tag<T>) {
    norm_backward<Center::none>(stream, dweight.data<float>(), nullptr,
                                NormBackward<T>{.dx = dx.data<T>(),
                                                .dy = dy.data<T>(),
                                                .x = x.data<T>(),
                                                .weight = weight.data<T>(),
                                                .mean = nullptr,
                                                .rstd = rstd.data<float>(),
                                                .M = row_count(x),
                                                .C = row_size(x)},
                                write);
  });
}

}  // namespace ssmax::kernels::cuda
