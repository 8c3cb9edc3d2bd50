#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/elements.h"
#include "kernels/norm_forward.h"
#include "kernels/op.h"
#include "kernels/rows.h"
#include "kernels/workspace.h"

/// The norms of rows on the CPU, in fp32, over the statistic: layer_norm takes the mean off first,
/// rms_norm does not. M rows, C channels.
namespace ssmax::kernels::cpu {

template <class T>
struct NormBackward {
  T* dx;
  float* dweight;
  float* dbias;  ///< null: none
  const T* dy;
  const T* x;
  const T* weight;
  const float* mean;  ///< null without a center
  const float* rstd;
  std::int64_t M, C;
};

/// What the statistic adds up first: x for the mean, x^2 where the center is 0.
template <Center kCenter>
float first_term(float x) {
  return kCenter == Center::mean ? x : x * x;
}

template <Center kCenter>
float centered(float x, float mean) {
  return kCenter == Center::mean ? x - mean : x;
}

template <Center kCenter, class T>
float sum_row(const T* x, std::int64_t C) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t c = 0; c < C; ++c) sum += first_term<kCenter>(load(x[c]));
  return sum;
}

// The sum is rounded to T first, so that forward and backward see the same x.
template <Center kCenter, class T>
float add_row(T* to, const T* x, const T* delta, std::int64_t C) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t c = 0; c < C; ++c) {
    store(to[c], load(x[c]) + load(delta[c]));
    sum += first_term<kCenter>(load(to[c]));
  }
  return sum;
}

template <class T>
float centered_squares(const T* x, float mean, std::int64_t C) {
  float squares = 0.0F;
#pragma omp simd reduction(+ : squares)
  for (std::int64_t c = 0; c < C; ++c) {
    const float value = load(x[c]) - mean;
    squares += value * value;
  }
  return squares;
}

template <Center kCenter, class T>
void normalize_row(T* y, const T* x, const T* weight, const T* bias, float mean, float rstd,
                   std::int64_t C) {
  if (bias == nullptr) {
#pragma omp simd
    for (std::int64_t c = 0; c < C; ++c) {
      store(y[c], centered<kCenter>(load(x[c]), mean) * rstd * load(weight[c]));
    }
    return;
  }
#pragma omp simd
  for (std::int64_t c = 0; c < C; ++c) {
    store(y[c], centered<kCenter>(load(x[c]), mean) * rstd * load(weight[c]) + load(bias[c]));
  }
}

template <Center kCenter, class T>
void norm_forward(const NormForward<T>& n) {
  const auto count = static_cast<float>(n.C);
  device::parallel_for(n.M, rows_per_task(n.C), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t m = begin; m < end; ++m) {
      const std::int64_t at = m * n.C;
      const T* x = n.delta == nullptr ? n.x + at : n.sum + at;
      const float sum = n.delta == nullptr
                            ? sum_row<kCenter>(x, n.C)
                            : add_row<kCenter>(n.sum + at, n.x + at, n.delta + at, n.C);
      float mean = 0.0F;
      float squares = sum;
      if constexpr (kCenter == Center::mean) {
        mean = sum / count;
        squares = centered_squares(x, mean, n.C);
        n.mean[m] = mean;
      }
      n.rstd[m] = 1.0F / std::sqrt(squares / count + n.eps);
      normalize_row<kCenter>(n.y + at, x, n.weight, n.bias, mean, n.rstd[m], n.C);
    }
  });
}

/// With h = (x - mean) rstd and g = dy w: dx = rstd (g - mean(g) - h mean(g h)), without mean(g)
/// where the center is 0. Adds one row to dweight and, with a center, to dbias.
template <Center kCenter, Write kWrite, class T>
void norm_backward_row(T* dx, float* dweight, float* dbias, const T* dy, const T* x,
                       const T* weight, float mean, float rstd, std::int64_t C) {
  float sum = 0.0F;
  float dot = 0.0F;
#pragma omp simd reduction(+ : sum, dot)
  for (std::int64_t c = 0; c < C; ++c) {
    const float g = load(dy[c]) * load(weight[c]);
    if constexpr (kCenter == Center::mean) sum += g;
    dot += g * centered<kCenter>(load(x[c]), mean);
  }
  const float mean_g = sum / static_cast<float>(C);
  const float pull = dot * rstd * rstd / static_cast<float>(C);
#pragma omp simd
  for (std::int64_t c = 0; c < C; ++c) {
    const float g = load(dy[c]);
    const float v = centered<kCenter>(load(x[c]), mean);
    dweight[c] += g * v * rstd;
    float value = g * load(weight[c]) - v * pull;
    if constexpr (kCenter == Center::mean) {
      dbias[c] += g;
      value -= mean_g;
    }
    value *= rstd;
    if constexpr (kWrite == Write::add) value += load(dx[c]);
    store(dx[c], value);
  }
}

/// dbias is always summed where there is a center: one add beside five multiplications, and one
/// loop instead of two.
template <Center kCenter, Write kWrite, class T>
void norm_backward_rows(const NormBackward<T>& n) {
  constexpr std::int64_t kSums = kCenter == Center::mean ? 2 : 1;
  const RowChunks chunks(n.M);
  float* weight_partials = workspace<float>(kSums * chunks.count * n.C);
  float* bias_partials = weight_partials + (kSums - 1) * chunks.count * n.C;
  device::parallel_for(n.M, chunks.size, [&](std::int64_t begin, std::int64_t end) {
    float* weight_partial = weight_partials + begin / chunks.size * n.C;
    float* bias_partial = bias_partials + begin / chunks.size * n.C;
    std::fill_n(weight_partial, n.C, 0.0F);
    if constexpr (kCenter == Center::mean) std::fill_n(bias_partial, n.C, 0.0F);
    for (std::int64_t m = begin; m < end; ++m) {
      const std::int64_t at = m * n.C;
      norm_backward_row<kCenter, kWrite>(
          n.dx + at, weight_partial, bias_partial, n.dy + at, n.x + at, n.weight,
          kCenter == Center::mean ? n.mean[m] : 0.0F, n.rstd[m], n.C);
    }
  });
  add_partials(n.dweight, weight_partials, chunks.count, n.C);
  if (n.dbias != nullptr) add_partials(n.dbias, bias_partials, chunks.count, n.C);
}

template <Center kCenter, class T>
void norm_backward(const NormBackward<T>& n, Write write) {
  if (write == Write::add) {
    norm_backward_rows<kCenter, Write::add>(n);
  } else {
    norm_backward_rows<kCenter, Write::overwrite>(n);
  }
}

}  // namespace ssmax::kernels::cpu
