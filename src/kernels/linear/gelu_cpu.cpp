#include "kernels/linear/gelu_cpu.h"

#include <type_traits>

#include "device/vector_math.h"
#include "kernels/elements.h"
#include "kernels/linear/gelu_launch.h"
#include "kernels/rows.h"

namespace ssmax::kernels::cpu {

namespace {

constexpr auto kRoot = static_cast<float>(plain::kGeluRoot);
constexpr auto kCubic = static_cast<float>(plain::kGeluCubic);

// (1 + tanh(u)) / 2 = 1 / (1 + e^(-2 u)): one exponential, no cancellation on the left tail.
inline float gate_of(float x) {
  const float u = kRoot * x * (1.0F + kCubic * x * x);
  return 1.0F / (1.0F + device::vector_exp(-2.0F * u));
}

template <class T>
void forward(T* out, const T* x, std::int64_t begin, std::int64_t end) {
#pragma omp simd
  for (std::int64_t i = begin; i < end; ++i) {
    const float value = load(x[i]);
    store(out[i], value * gate_of(value));
  }
}

template <class T>
void backward(T* dx, const T* dout, const T* x, std::int64_t begin, std::int64_t end) {
#pragma omp simd
  for (std::int64_t i = begin; i < end; ++i) {
    const float value = load(x[i]);
    const float s = gate_of(value);
    const float slope = 2.0F * kRoot * (1.0F + 3.0F * kCubic * value * value);
    const float gradient = s + value * s * (1.0F - s) * slope;
    store(dx[i], load(dout[i]) * gradient);
  }
}

}  // namespace

void gelu(Stream& /*stream*/, const Tensor& out, const ConstTensor& x) {
  device::dispatch(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* to = out.data<T>();
    const T* from = x.data<T>();
    if constexpr (std::is_same_v<T, double>) {
      plain::gelu(to, from, x.elements());
    } else {
      device::parallel_for(
          x.elements(), kElementsPerTask,
          [&](std::int64_t begin, std::int64_t end) { forward(to, from, begin, end); });
    }
  });
}

void gelu_backward(Stream& /*stream*/, const Tensor& dx, const ConstTensor& dout,
                   const ConstTensor& x) {
  device::dispatch(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* to = dx.data<T>();
    const T* g = dout.data<T>();
    const T* from = x.data<T>();
    if constexpr (std::is_same_v<T, double>) {
      plain::gelu_backward(to, g, from, x.elements());
    } else {
      device::parallel_for(
          x.elements(), kElementsPerTask,
          [&](std::int64_t begin, std::int64_t end) { backward(to, g, from, begin, end); });
    }
  });
}

}  // namespace ssmax::kernels::cpu
