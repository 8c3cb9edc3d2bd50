#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/op.h"

namespace ssmax::kernels::plain {

// Arrays as in rms_norm.h: x, y, dx, dy (M, C), weight, dweight (C), rstd (M).

template <class T>
void rms_norm(T* y, T* rstd, const T* x, const T* weight, std::int64_t M, std::int64_t C, T eps) {
  for (std::int64_t m = 0; m < M; ++m) {
    T squares = 0;
    for (std::int64_t c = 0; c < C; ++c) squares += x[m * C + c] * x[m * C + c];
    rstd[m] = 1 / std::sqrt(squares / static_cast<T>(C) + eps);
    for (std::int64_t c = 0; c < C; ++c) y[m * C + c] = x[m * C + c] * rstd[m] * weight[c];
  }
}

// With r = rstd: dx = r dy w - x r^3 / C sum(dy w x).
template <class T>
void rms_norm_backward(T* dx, T* dweight, const T* dy, const T* x, const T* weight, const T* rstd,
                       std::int64_t M, std::int64_t C, Write write) {
  for (std::int64_t m = 0; m < M; ++m) {
    const T r = rstd[m];
    T dot = 0;
    for (std::int64_t c = 0; c < C; ++c) dot += dy[m * C + c] * weight[c] * x[m * C + c];
    for (std::int64_t c = 0; c < C; ++c) {
      const std::int64_t i = m * C + c;
      dweight[c] += dy[i] * x[i] * r;
      const T value = r * dy[i] * weight[c] - x[i] * r * r * r * dot / static_cast<T>(C);
      dx[i] = write == Write::add ? dx[i] + value : value;
    }
  }
}

}  // namespace ssmax::kernels::plain
