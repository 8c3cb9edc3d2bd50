#pragma once

#include <cstdint>

#include "kernels/op.h"

namespace ssmax::kernels::plain {

// Arrays as in linear.h: x, dx (M, K), weight, dweight (N, K), y, dy (M, N), bias, dbias (N), which
// may be null. Rows [begin, end) of the output.

template <class T>
void linear(T* y, const T* x, const T* weight, const T* bias, std::int64_t begin, std::int64_t end,
            std::int64_t K, std::int64_t N, Write write) {
  for (std::int64_t m = begin; m < end; ++m) {
    for (std::int64_t n = 0; n < N; ++n) {
      T sum = bias == nullptr ? T{} : bias[n];
#pragma omp simd reduction(+ : sum)
      for (std::int64_t k = 0; k < K; ++k) sum += x[m * K + k] * weight[n * K + k];
      y[m * N + n] = write == Write::add ? y[m * N + n] + sum : sum;
    }
  }
}

template <class T>
void linear_input_gradient(T* dx, const T* dy, const T* weight, std::int64_t begin,
                           std::int64_t end, std::int64_t K, std::int64_t N, Write write) {
  for (std::int64_t m = begin; m < end; ++m) {
    if (write == Write::overwrite) {
      for (std::int64_t k = 0; k < K; ++k) dx[m * K + k] = 0;
    }
    for (std::int64_t n = 0; n < N; ++n) {
      for (std::int64_t k = 0; k < K; ++k) dx[m * K + k] += dy[m * N + n] * weight[n * K + k];
    }
  }
}

template <class T>
void linear_weight_gradient(T* dweight, T* dbias, const T* dy, const T* x, std::int64_t begin,
                            std::int64_t end, std::int64_t M, std::int64_t K, std::int64_t N) {
  for (std::int64_t n = begin; n < end; ++n) {
    for (std::int64_t m = 0; m < M; ++m) {
      if (dbias != nullptr) dbias[n] += dy[m * N + n];
      for (std::int64_t k = 0; k < K; ++k) dweight[n * K + k] += dy[m * N + n] * x[m * K + k];
    }
  }
}

}  // namespace ssmax::kernels::plain
