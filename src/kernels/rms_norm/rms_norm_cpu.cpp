#include "kernels/rms_norm/rms_norm_cpu.h"

#include <type_traits>

#include "kernels/norm_rows.h"
#include "kernels/rms_norm/rms_norm_launch.h"

namespace ssmax::kernels::cpu {

void rms_norm(Stream& stream, const Tensor& y, const Tensor& rstd, const ConstTensor& x,
              const ConstTensor& weight, double eps) {
  cpu::add_rms_norm(stream, {}, y, rstd, x, {}, weight, eps);
}

void add_rms_norm(Stream& /*stream*/, const Tensor& sum, const Tensor& y, const Tensor& rstd,
                  const ConstTensor& x, const ConstTensor& delta, const ConstTensor& weight,
                  double eps) {
  const std::int64_t M = row_count(x);
  const std::int64_t C = row_size(x);
  device::dispatch(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* s = sum.empty() ? nullptr : sum.data<T>();
    const T* from = x.data<T>();
    const T* d = data_or_null<T>(delta);
    auto* r = rstd.data<device::Accumulator<T>>();
    if constexpr (std::is_same_v<T, double>) {
      if (d != nullptr) {
        for (std::int64_t i = 0; i < M * C; ++i) s[i] = from[i] + d[i];
        from = s;
      }
      plain::rms_norm(y.data<T>(), r, from, weight.data<T>(), M, C, eps);
    } else {
      norm_forward<Center::none>(NormForward<T>{.sum = s,
                                                .y = y.data<T>(),
                                                .mean = nullptr,
                                                .rstd = r,
                                                .x = from,
                                                .delta = d,
                                                .weight = weight.data<T>(),
                                                .bias = nullptr,
                                                .M = M,
                                                .C = C,
                                                .eps = static_cast<float>(eps)});
    }
  });
}

void rms_norm_backward(Stream& /*stream*/, const Tensor& dx, const Tensor& dweight,
                       const ConstTensor& dy, const ConstTensor& x, const ConstTensor& weight,
                       const ConstTensor& rstd, Write write) {
  const std::int64_t M = row_count(x);
  const std::int64_t C = row_size(x);
  device::dispatch(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = device::Accumulator<T>;
    if constexpr (std::is_same_v<T, double>) {
      plain::rms_norm_backward(dx.data<T>(), dweight.data<A>(), dy.data<T>(), x.data<T>(),
                               weight.data<T>(), rstd.data<A>(), M, C, write);
    } else {
      norm_backward<Center::none>(NormBackward<T>{.dx = dx.data<T>(),
                                                  .dweight = dweight.data<A>(),
                                                  .dbias = nullptr,
                                                  .dy = dy.data<T>(),
                                                  .x = x.data<T>(),
                                                  .weight = weight.data<T>(),
                                                  .mean = nullptr,
                                                  .rstd = rstd.data<A>(),
                                                  .M = M,
                                                  .C = C},
                                  write);
    }
  });
}

}  // namespace ssmax::kernels::cpu
