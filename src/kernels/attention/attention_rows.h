#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "device/vector_math.h"
#include "kernels/attention/weighting.h"

/// Passes over one row of scores in fp32 for the tiled attention of the CPU: loops that the
/// compiler vectorizes, with the weighting's functions inlined. Masked keys are outside the row.
namespace ssmax::kernels::cpu {

/// e^x, and exactly 0 below -80: weights under 2e-35 would only make slow subnormal products.
inline float row_exp(float x) { return x < -80.0F ? 0.0F : device::vector_exp(x); }

/// ALiBi's part of a row: x_j += -slope (position - j).
struct RowBias {
  float slope = 0;
  float position = 0;  ///< of the query, counted from the row's first key
};

/// x_j = scale s_j - slope (position - j): scores to scaled scores. x may be s.
inline void scale_row(float* x, const float* s, std::int64_t n, float scale, RowBias bias) {
  if (bias.slope == 0.0F) {
#pragma omp simd
    for (std::int64_t j = 0; j < n; ++j) x[j] = s[j] * scale;
    return;
  }
  const auto count = static_cast<std::int32_t>(n);
#pragma omp simd
  for (std::int32_t j = 0; j < count; ++j) {
    x[j] = s[j] * scale - bias.slope * (bias.position - static_cast<float>(j));
  }
}

inline float row_max(const float* x, std::int64_t n, float start) {
  float max = start;
#pragma omp simd reduction(max : max)
  for (std::int64_t j = 0; j < n; ++j) max = std::max(max, x[j]);
  return max;
}

inline float row_min(const float* x, std::int64_t n) {
  float min = std::numeric_limits<float>::infinity();
#pragma omp simd reduction(min : min)
  for (std::int64_t j = 0; j < n; ++j) min = std::min(min, x[j]);
  return min;
}

/// First j with x_j == value; n when there is none (a row with NaN).
inline std::int64_t first_equal(const float* x, std::int64_t n, float value) {
  const auto count = static_cast<std::int32_t>(n);
  std::int32_t first = count;
#pragma omp simd reduction(min : first)
  for (std::int32_t j = 0; j < count; ++j) first = std::min(first, x[j] == value ? j : count);
  return first;
}

/// The statistic of x, with y_j = e^(x_j - max) left behind when it needs the sum.
template <MonoidWeighting W>
RowStatistic<float> row_statistic(float* y, const float* x, std::int64_t n) {
  RowStatistic<float> statistic;
  if constexpr (W::kNeeds == RowNeeds::extremes) {
    statistic.min = row_min(x, n);
    statistic.argmin = first_equal(x, n, statistic.min);
  }
  if constexpr (W::kNeeds != RowNeeds::nothing) {
    const float max = row_max(x, n, W::template lowest_max<float>());
    statistic.max = max;
    if constexpr (W::kNeeds == RowNeeds::extremes) statistic.argmax = first_equal(x, n, max);
    const float origin = row_exp(-max);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = 0; j < n; ++j) {
      const float e = row_exp(x[j] - max);
      y[j] = e;
      sum += W::term(e, origin);
    }
    statistic.sum = sum;
  }
  return statistic;
}

/// y = weights of the row x. y must not overlap x.
template <MonoidWeighting W>
RowOf<W, float> weigh_row(float* __restrict y, const float* __restrict x, std::int64_t n,
                          float head, const W& weighting) {
  const RowOf<W, float> row = weighting.finish(row_statistic<W>(y, x, n), head, n);
#pragma omp simd
  for (std::int64_t j = 0; j < n; ++j) {
    const float e = W::kNeeds == RowNeeds::nothing ? row_exp(exponent<W>(row, x[j])) : y[j];
    y[j] = W::weight(row, x[j], e);
  }
  return row;
}

template <SolvingWeighting W>
RowOf<W, float> weigh_row(float* __restrict y, const float* __restrict x, std::int64_t n,
                          float /*head*/, const W& weighting) {
  const RowOf<W, float> row = weighting.solve(WholeRow<float>{x, n});
#pragma omp simd
  for (std::int64_t j = 0; j < n; ++j) y[j] = weighting.weight(row, x[j]);
  return row;
}

/// x becomes the weights, g the gradient of x, given the saved row. D = dO.O is summed here as
/// weights times g: with bf16 activations the stored O is rounded, and gradients of row scales feel
/// that. `e` is scratch for the row.
template <MonoidWeighting W>
void differentiate_row(float* __restrict x, float* __restrict g, float* __restrict e,
                       std::int64_t n, const RowOf<W, float>& row, const W& weighting) {
  float d = 0;
#pragma omp simd reduction(+ : d)
  for (std::int64_t j = 0; j < n; ++j) {
    e[j] = row_exp(exponent<W>(row, x[j]));
    d += W::weight(row, x[j], e[j]) * g[j];
  }
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t j = 0; j < n; ++j) {
    const float dx = W::slope(row, x[j], e[j]) * g[j] - W::pull(row, x[j], e[j]) * d;
    x[j] = W::weight(row, x[j], e[j]);
    g[j] = dx;
    if constexpr (W::kFixesExtremes) sum += dx;
  }
  if constexpr (W::kFixesExtremes) {
    const ExtremeGradients<float> extra = weighting.fix_up(row, d, sum);
    // None where the extreme is a constant; n in a row of NaN.
    if (row.argmin >= 0 && row.argmin < n) g[row.argmin] += extra.at_min;
    if (row.argmax >= 0 && row.argmax < n) g[row.argmax] += extra.at_max;
  }
}

template <SolvingWeighting W>
void differentiate_row(float* __restrict x, float* __restrict g, float* __restrict /*e*/,
                       std::int64_t n, const RowOf<W, float>& row, const W& weighting) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t j = 0; j < n; ++j) sum += weighting.coupling(row, x[j]) * g[j];
#pragma omp simd
  for (std::int64_t j = 0; j < n; ++j) {
    g[j] = weighting.slope(row, x[j]) * g[j] - weighting.pull(row, x[j]) * sum;
    x[j] = weighting.weight(row, x[j]);
  }
}

}  // namespace ssmax::kernels::cpu
