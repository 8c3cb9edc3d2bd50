#include "kernels/swiglu/swiglu_cpu.h"

#include <type_traits>

#include "device/vector_math.h"
#include "kernels/elements.h"
#include "kernels/rows.h"
#include "kernels/swiglu/swiglu_launch.h"

namespace ssmax::kernels::cpu {

namespace {

template <class T>
void forward_row(T* out, const T* gate, const T* up, std::int64_t F) {
#pragma omp simd
  for (std::int64_t f = 0; f < F; ++f) {
    const float g = load(gate[f]);
    const float silu = g / (1.0F + device::vector_exp(-g));
    store(out[f], silu * load(up[f]));
  }
}

template <class T>
void backward_row(T* dgate, T* dup, const T* dout, const T* gate, const T* up, std::int64_t F) {
#pragma omp simd
  for (std::int64_t f = 0; f < F; ++f) {
    const float g = load(gate[f]);
    const float u = load(up[f]);
    const float d = load(dout[f]);
    const float s = 1.0F / (1.0F + device::vector_exp(-g));
    store(dgate[f], d * u * s * (1.0F + g * (1.0F - s)));
    store(dup[f], d * g * s);
  }
}

}  // namespace

void swiglu(Stream& /*stream*/, const Tensor& out, const ConstTensor& gate_up) {
  const std::int64_t M = row_count(out);
  const std::int64_t F = row_size(out);
  device::dispatch(out.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* to = out.data<T>();
    const T* from = gate_up.data<T>();
    if constexpr (std::is_same_v<T, double>) {
      plain::swiglu(to, from, M, F);
    } else {
      device::parallel_for(M, rows_per_task(2 * F), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t m = begin; m < end; ++m) {
          const T* row = from + m * 2 * F;
          forward_row(to + m * F, row, row + F, F);
        }
      });
    }
  });
}

void swiglu_backward(Stream& /*stream*/, const Tensor& dgate_up, const ConstTensor& dout,
                     const ConstTensor& gate_up) {
  const std::int64_t M = row_count(dout);
  const std::int64_t F = row_size(dout);
  device::dispatch(dout.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* to = dgate_up.data<T>();
    const T* g = dout.data<T>();
    const T* from = gate_up.data<T>();
    if constexpr (std::is_same_v<T, double>) {
      plain::swiglu_backward(to, g, from, M, F);
    } else {
      device::parallel_for(M, rows_per_task(2 * F), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t m = begin; m < end; ++m) {
          T* dgate = to + m * 2 * F;
          const T* gate = from + m * 2 * F;
          backward_row(dgate, dgate + F, g + m * F, gate, gate + F, F);
        }
      });
    }
  });
}

}  // namespace ssmax::kernels::cpu
