#include "kernels/layer_norm/layer_norm_cpu.h"

#include <type_traits>

#include "kernels/layer_norm/layer_norm_launch.h"
#include "kernels/norm_rows.h"

namespace ssmax::kernels::cpu {

void layer_norm(Stream& stream, const Tensor& y, const LayerNormSaved& saved, const ConstTensor& x,
                const ConstTensor& weight, const ConstTensor& bias, double eps) {
  cpu::add_layer_norm(stream, {}, y, saved, x, {}, weight, bias, eps);
}

void add_layer_norm(Stream& /*stream*/, const Tensor& sum, const Tensor& y,
                    const LayerNormSaved& saved, const ConstTensor& x, const ConstTensor& delta,
                    const ConstTensor& weight, const ConstTensor& bias, double eps) {
  const std::int64_t M = row_count(x);
  const std::int64_t C = row_size(x);
  device::dispatch(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = device::Accumulator<T>;
    T* s = sum.empty() ? nullptr : sum.data<T>();
    const T* from = x.data<T>();
    const T* d = data_or_null<T>(delta);
    const T* b = data_or_null<T>(bias);
    if constexpr (std::is_same_v<T, double>) {
      if (d != nullptr) {
        for (std::int64_t i = 0; i < M * C; ++i) s[i] = from[i] + d[i];
        from = s;
      }
      plain::layer_norm(y.data<T>(), saved.mean.data<A>(), saved.rstd.data<A>(), from,
                        weight.data<T>(), b, M, C, eps);
    } else {
      norm_forward<Center::mean>(NormForward<T>{.sum = s,
                                                .y = y.data<T>(),
                                                .mean = saved.mean.data<A>(),
                                                .rstd = saved.rstd.data<A>(),
                                                .x = from,
                                                .delta = d,
                                                .weight = weight.data<T>(),
                                                .bias = b,
                                                .M = M,
                                                .C = C,
                                                .eps = static_cast<float>(eps)});
    }
  });
}

void layer_norm_backward(Stream& /*stream*/, const Tensor& dx, const Tensor& dweight,
                         const Tensor& dbias, const ConstTensor& dy, const ConstTensor& x,
                         const ConstTensor& weight, const LayerNormSaved& saved, Write write) {
  const std::int64_t M = row_count(x);
  const std::int64_t C = row_size(x);
  device::dispatch(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = device::Accumulator<T>;
    A* db = dbias.empty() ? nullptr : dbias.data<A>();
    if constexpr (std::is_same_v<T, double>) {
      plain::layer_norm_backward(dx.data<T>(), dweight.data<A>(), db, dy.data<T>(), x.data<T>(),
                                 weight.data<T>(), saved.mean.data<A>(), saved.rstd.data<A>(), M, C,
                                 write);
    } else {
      norm_backward<Center::mean>(NormBackward<T>{.dx = dx.data<T>(),
                                                  .dweight = dweight.data<A>(),
                                                  .dbias = db,
                                                  .dy = dy.data<T>(),
                                                  .x = x.data<T>(),
                                                  .weight = weight.data<T>(),
                                                  .mean = saved.mean.data<A>(),
                                                  .rstd = saved.rstd.data<A>(),
                                                  .M = M,
                                                  .C = C},
                                  write);
    }
  });
}

}  // namespace ssmax::kernels::cpu
