#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include "device/vector_math.h"
#include "kernels/attention/row_gradient.h"

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
      sum += W::term(x[j], e, origin);
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

/// A row of the backward: x and g in a tile, e in scratch.
template <Weighting W>
class RowKeys {
 public:
  RowKeys(float* x, float* g, float* e, std::int64_t n) : x_(x), g_(g), e_(e), n_(n) {}

  float exponentiate(const RowOf<W, float>& of) {
    const RowOf<W, float> row = of;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = 0; j < n_; ++j) {
      e_[j] = row_exp(exponent<W>(row, x_[j]));
      sum += e_[j];
    }
    return sum;
  }
  RowEnd take_end(std::int64_t key) {
    if (key < 0 || key >= n_) return {};
    return {key, x_[key], g_[key], std::exchange(e_[key], 0.0F)};
  }
  template <class Part>
  float sum(const Part& part) const {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = 0; j < n_; ++j) sum += part(x_[j], g_[j], e_[j]);
    return sum;
  }
  template <class Part>
  PairOfSums sums(const Part& part) const {
    float first = 0;
    float second = 0;
#pragma omp simd reduction(+ : first, second)
    for (std::int64_t j = 0; j < n_; ++j) {
      const PairOfSums parts = part(x_[j], g_[j], e_[j]);
      first += parts.first;
      second += parts.second;
    }
    return {first, second};
  }
  template <class Change>
  float replace(const Change& change) {
    float frozen = 0;
#pragma omp simd reduction(+ : frozen)
    for (std::int64_t j = 0; j < n_; ++j) {
      const KeyGradient key = change(x_[j], g_[j], e_[j]);
      frozen += key.frozen;
      x_[j] = key.weight;
      g_[j] = key.dx;
    }
    return frozen;
  }
  void put(const RowEnd& end, float weight, float dx) {
    x_[end.key] = weight;
    g_[end.key] = dx;
  }

 private:
  float* __restrict x_;
  float* __restrict g_;
  float* __restrict e_;
  std::int64_t n_;
};

}  // namespace ssmax::kernels::cpu
