#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace ssmax::kernels::plain {

/// sqrt(2 / pi) and the cubic coefficient of the tanh form.
inline constexpr double kGeluRoot = std::numbers::sqrt2 * std::numbers::inv_sqrtpi;
inline constexpr double kGeluCubic = 0.044715;

template <class T>
void gelu(T* out, const T* x, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const T u = kGeluRoot * (x[i] + kGeluCubic * x[i] * x[i] * x[i]);
    out[i] = x[i] / 2 * (1 + std::tanh(u));
  }
}

template <class T>
void gelu_backward(T* dx, const T* dout, const T* x, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const T t = std::tanh(kGeluRoot * (x[i] + kGeluCubic * x[i] * x[i] * x[i]));
    const T slope = kGeluRoot * (1 + 3 * kGeluCubic * x[i] * x[i]);
    dx[i] = dout[i] * ((1 + t) / 2 + x[i] / 2 * (1 - t * t) * slope);
  }
}

}  // namespace ssmax::kernels::plain
