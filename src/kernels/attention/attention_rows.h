#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

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

/// e of a loaded row. Where they are probabilities their sum shows what the rounding of L, by 2^-24
/// of itself, did to all of them: dx of a row that one key dominates is smaller than that.
template <MonoidWeighting W>
void exponentiate_row(float* __restrict e, RowOf<W, float>& row, const float* __restrict x,
                      std::int64_t n, float head) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t j = 0; j < n; ++j) {
    e[j] = row_exp(exponent<W>(row, x[j]));
    sum += e[j];
  }
  if constexpr (ProbabilityWeighting<W>) row.factor = 1.0F / (sum + W::outside(row, head));
}

/// A key that holds an end of a row, with its e taken out of the row.
struct RowEnd {
  std::int64_t key = -1;
  float x = 0;
  float g = 0;
  float e = 0;
};

inline RowEnd take_end(float* e, const float* x, const float* g, std::int64_t n, std::int64_t key) {
  // None where the end is a constant; n in a row of NaN.
  if (key < 0 || key >= n) return {};
  return {key, x[key], g[key], std::exchange(e[key], 0.0F)};
}

/// Of one row.
struct RowSums {
  float d = 0;       ///< D
  float frozen = 0;  ///< x times dx at a fixed beta, of weightings that are scale free
};

/// x becomes the weights, g the gradient of x, given the saved row. D = dO.O is summed here as
/// weights times g: with bf16 activations the stored O is rounded, and gradients of row scales
/// and sinks feel that. At the ends of the row beta is 0 or 1 whatever the scores are, so their own
/// g stays out of the terms with 1 / spread: these have no bound, and it would only cancel there.
/// `e` is scratch for the row.
template <MonoidWeighting W>
RowSums differentiate_row(float* __restrict x, float* __restrict g, float* __restrict e,
                          std::int64_t n, RowOf<W, float> row, float head, const W& weighting) {
  exponentiate_row<W>(e, row, x, n, head);
  RowEnd ends[2];
  if constexpr (W::kFixesExtremes) {
    ends[0] = take_end(e, x, g, n, row.argmin);
    ends[1] = take_end(e, x, g, n, row.argmax);
  }
  float between = 0;  // part of D
#pragma omp simd reduction(+ : between)
  for (std::int64_t j = 0; j < n; ++j) between += W::weight(row, x[j], e[j]) * g[j];
  float d = between;
  for (const RowEnd& end : ends) d += W::weight(row, end.x, end.e) * end.g;
  float sum = 0;
  float frozen = 0;
#pragma omp simd reduction(+ : sum, frozen)
  for (std::int64_t j = 0; j < n; ++j) {
    const float weight = W::weight(row, x[j], e[j]);
    const float pulled = W::pull(row, x[j], e[j]) * d;
    const float dx = W::slope(row, x[j], e[j]) * g[j] - pulled;
    if constexpr (W::kFixesExtremes) sum += dx;
    if constexpr (ScaleFreeWeighting<W>) frozen += (weight * g[j] - pulled) * x[j];
    x[j] = weight;
    g[j] = dx;
  }
  if constexpr (W::kFixesExtremes) {
    for (const RowEnd& end : ends) {
      if (end.key < 0) continue;
      const float weight = W::weight(row, end.x, end.e);
      const float dx = weight * end.g - W::pull(row, end.x, end.e) * d;
      sum += dx;
      frozen += dx * end.x;
      x[end.key] = weight;
      g[end.key] = dx;
    }
    const ExtremeGradients<float> extra = weighting.fix_up(row, between, sum);
    if (ends[0].key >= 0) g[ends[0].key] += extra.at_min;
    if (ends[1].key >= 0) g[ends[1].key] += extra.at_max;
  }
  return {d, frozen};
}

template <SolvingWeighting W>
RowSums differentiate_row(float* __restrict x, float* __restrict g, float* __restrict /*e*/,
                          std::int64_t n, const RowOf<W, float>& row, float /*head*/,
                          const W& weighting) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t j = 0; j < n; ++j) sum += weighting.coupling(row, x[j]) * g[j];
#pragma omp simd
  for (std::int64_t j = 0; j < n; ++j) {
    g[j] = weighting.slope(row, x[j]) * g[j] - weighting.pull(row, x[j]) * sum;
    x[j] = weighting.weight(row, x[j]);
  }
  return {.d = sum};
}

}  // namespace ssmax::kernels::cpu
