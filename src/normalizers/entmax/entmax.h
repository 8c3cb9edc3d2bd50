#pragma once

#include <cmath>
#include <tuple>

#include "base/field.h"
#include "base/host_device.h"

/// alpha-entmax: Peters, Niculae and Martins, "Sparse Sequence-to-Sequence Models", 2019; alpha = 2
/// is sparsemax (Martins and Astudillo 2016). The threshold is solved from the whole row.
namespace ssmax::normalizers::entmax {

struct Options {
  double alpha = 1.5;

  static constexpr auto fields() {
    return std::tuple(base::field("alpha", &Options::alpha,
                                  "Sparsity: towards 1 as softmax, 1.5 sparse, 2 sparsemax",
                                  base::above(1.0), base::at_most(4.0)));
  }
};

/// w = u^(1 / (alpha - 1)) / sum with u = max((alpha - 1) (x - max) - t, 0), t such that the sum is
/// 1; dx_k = pull_k (g_k - sum_j pull_j g_j / sum_j pull_j), pull = w^(2 - alpha) where w > 0.
/// Kept: max, t, 1 / sum, 1 / sum of the pulls.
struct Weighting {
  static constexpr std::int64_t kRowValues = 4;

  double alpha = 1.5;

  template <class Real>
  struct Row {
    Real max;
    Real threshold;
    Real factor;       // 1 / sum of u^(1 / (alpha - 1))
    Real pull_factor;  // 1 / sum of w^(2 - alpha)
  };

  template <class Real>
  HD static Real power(Real u, double exponent) {
    if (u <= 0) return 0;
    if (exponent == 0.0) return 1;
    if (exponent == 0.5) return std::sqrt(u);
    if (exponent == 1.0) return u;
    if (exponent == 2.0) return u * u;
    return std::pow(u, static_cast<Real>(exponent));
  }
  template <class Real>
  HD Real gap(const Row<Real>& row, Real x) const {
    return static_cast<Real>(alpha - 1.0) * (x - row.max) - row.threshold;
  }
  template <class Real>
  HD Real weight(const Row<Real>& row, Real x) const {
    return power(gap(row, x), 1.0 / (alpha - 1.0)) * row.factor;
  }
  /// w^(2 - alpha) where w > 0, else 0.
  template <class Real>
  HD Real pull(const Row<Real>& row, Real x) const {
    return power(weight(row, x), 2.0 - alpha);
  }
  template <class Real>
  HD Real coupling(const Row<Real>& row, Real x) const {
    return pull(row, x) * row.pull_factor;
  }

  /// The sum falls from at least 1 at t = -1 to 0 at t = 0: bisection until the interval is one
  /// step of Real wide.
  template <class Whole>
  HD auto solve(const Whole& whole) const {
    using Real = decltype(whole.max());
    Row<Real> row{whole.max(), -1, 1, 1};
    const auto weight_sum = [&] { return whole.sum([&](Real x) { return weight(row, x); }); };
    Real low = -1;
    Real high = 0;
    for (int step = 0; step < 64; ++step) {
      row.threshold = (low + high) / 2;
      if (row.threshold == low || row.threshold == high) break;
      (weight_sum() > 1 ? low : high) = row.threshold;
    }
    row.threshold = low;
    row.factor = Real{1} / weight_sum();
    row.pull_factor = Real{1} / whole.sum([&](Real x) { return pull(row, x); });
    return row;
  }

  template <class Real>
  HD static void save(const Row<Real>& row, Real* values) {
    values[0] = row.max;
    values[1] = row.threshold;
    values[2] = row.factor;
    values[3] = row.pull_factor;
  }
  template <class Real>
  HD Row<Real> load(const Real* values, std::int64_t /*n*/) const {
    return {values[0], values[1], values[2], values[3]};
  }
};

}  // namespace ssmax::normalizers::entmax
