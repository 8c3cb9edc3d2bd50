#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/op.h"

namespace ssmax::kernels::plain {

// Arrays as in layer_norm.h: x, y, dx, dy (M, C), weight, bias, dweight, dbias (C), mean, rstd (M);
// bias and dbias may be null.

template <class T>
void layer_norm(T* y, T* mean, T* rstd, const T* x, const T* weight, const T* bias, std::int64_t M,
                std::int64_t C, T eps) {
  for (std::int64_t m = 0; m < M; ++m) {
    T sum = 0;
    for (std::int64_t c = 0; c < C; ++c) sum += x[m * C + c];
    mean[m] = sum / static_cast<T>(C);
    T squares = 0;
    for (std::int64_t c = 0; c < C; ++c) {
      squares += (x[m * C + c] - mean[m]) * (x[m * C + c] - mean[m]);
    }
    rstd[m] = 1 / std::sqrt(squares / static_cast<T>(C) + eps);
    for (std::int64_t c = 0; c < C; ++c) {
      const T shift = bias == nullptr ? T{} : bias[c];
      y[m * C + c] = (x[m * C + c] - mean[m]) * rstd[m] * weight[c] + shift;
    }
  }
}

// With h = (x - mean) rstd and g = dy w: dx = rstd (g - mean(g) - h mean(g h)).
template <class T>
void layer_norm_backward(T* dx, T* dweight, T* dbias, const T* dy, const T* x, const T* weight,
                         const T* mean, const T* rstd, std::int64_t M, std::int64_t C,
                         Write write) {
  for (std::int64_t m = 0; m < M; ++m) {
    T sum = 0;
    T dot = 0;
    for (std::int64_t c = 0; c < C; ++c) {
      const std::int64_t i = m * C + c;
      sum += dy[i] * weight[c];
      dot += dy[i] * weight[c] * (x[i] - mean[m]) * rstd[m];
    }
    for (std::int64_t c = 0; c < C; ++c) {
      const std::int64_t i = m * C + c;
      const T h = (x[i] - mean[m]) * rstd[m];
      dweight[c] += dy[i] * h;
      if (dbias != nullptr) dbias[c] += dy[i];
      const T value =
          rstd[m] * (dy[i] * weight[c] - sum / static_cast<T>(C) - h * dot / static_cast<T>(C));
      dx[i] = write == Write::add ? dx[i] + value : value;
    }
  }
}

}  // namespace ssmax::kernels::plain
