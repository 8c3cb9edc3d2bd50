#include "kernels/layer_norm/layer_norm_launch.h"
#include "kernels/norm_rows_cuda.cuh"

namespace ssmax::kernels::cuda {

void layer_norm(Stream& stream, const Tensor& y, const LayerNormSaved& saved, const ConstTensor& x,
                const ConstTensor& weight, const ConstTensor& bias, double eps) {
  cuda::add_layer_norm(stream, {}, y, saved, x, {}, weight, bias, eps);
}

void add_layer_norm(Stream& stream, const Tensor& sum, const Tensor& y, const LayerNormSaved& saved,
                    const ConstTensor& x, const ConstTensor& delta, const ConstTensor& weight,
                    const ConstTensor& bias, double eps) {
  dispatch(x.dtype(), "layer_norm", [&]<class T>(device::Tag<T>) {
    norm_forward<Center::mean>(stream, NormForward<T>{.sum = sum.empty() ? nullptr : sum.data<T>(),
                                                      .y = y.data<T>(),
                                                      .mean = saved.mean.data<float>(),
                                                      .rstd = saved.rstd.data<float>(),
                                                      .x = x.data<T>(),
                                                      .delta = data_or_null<T>(delta),
                                                      .weight = weight.data<T>(),
                                                      .bias = data_or_null<T>(bias),
                                                      .M = row_count(x),
                                                      .C = row_size(x),
                                                      .eps = static_cast<float>(eps)});
  });
}

void layer_norm_backward(Stream& stream, const Tensor& dx, const Tensor& dweight,
                         const Tensor& dbias, const ConstTensor& dy, const ConstTensor& x,
                         const ConstTensor& weight, const LayerNormSaved& saved, Write write) {
  dispatch(x.dtype(), "layer_norm_backward", [&]<class T>(device::Tag<T>) {
    norm_backward<Center::mean>(stream, dweight.data<float>(),
                                dbias.empty() ? nullptr : dbias.data<float>(),
                                NormBackward<T>{.dx = dx.data<T>(),
                                                .dy = dy.data<T>(),
                                                .x = x.data<T>(),
                                                .weight = weight.data<T>(),
                                                .mean = saved.mean.data<float>(),
                                                .rstd = saved.rstd.data<float>(),
                                                .M = row_count(x),
                                                .C = row_size(x)},
                                write);
  });
}

}  // namespace ssmax::kernels::cuda
