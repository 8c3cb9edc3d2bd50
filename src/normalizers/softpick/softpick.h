#pragma once

#include <tuple>

#include "base/field.h"
#include "kernels/attention/weighting.h"

/// Softpick: Zuhri et al., "Softpick: No Attention Sink, No Massive Activations with Rectified
/// Softmax", 2025. Rows need not sum to 1; negative scores weigh nothing.
namespace ssmax::normalizers::softpick {

struct Options {
  static constexpr auto fields() { return std::tuple(); }
};

/// weight = relu(e^(x-m) - e^-m) / S with m = max(x, 0), S = sum |e^(x-m) - e^-m|. Kept: m, 1/S.
struct Weighting {
  static constexpr kernels::RowNeeds kNeeds = kernels::RowNeeds::maximum_and_sum;
  static constexpr std::int64_t kRowValues = 2;
  static constexpr bool kHeadParameter = false;
  static constexpr bool kFixesExtremes = false;
  static constexpr double kLargestExponent = std::numeric_limits<double>::infinity();

  template <class Real>
  struct Row {
    Real shift;   // m; e = e^(x - m)
    Real factor;  // 1 / S; 0 in a row of zeros, which has no weights
    Real origin;  // e^-m
  };

  template <class Real>
  HD static constexpr Real lowest_max() {
    return 0;
  }
  template <class Real>
  HD static Real term(Real e, Real origin) {
    return e > origin ? e - origin : origin - e;
  }
  template <class Real>
  HD static Row<Real> provisional(Real max, Real origin) {
    return {max, Real{1}, origin};
  }
  template <class Real>
  HD Row<Real> finish(const kernels::RowStatistic<Real>& s, Real /*head*/,
                      std::int64_t /*n*/) const {
    return {s.max, s.sum > 0 ? Real{1} / s.sum : Real{0}, std::exp(-s.max)};
  }
  template <class Real>
  HD static void save(const Row<Real>& row, Real* values) {
    values[0] = row.shift;
    values[1] = row.factor;
  }
  template <class Real>
  HD Row<Real> load(const Real* values, std::int64_t /*n*/) const {
    return {values[0], values[1], std::exp(-values[0])};
  }
  /// Its weight is 1 or 0 and has no slope. From 1 / S, which has no bound there, that would be
  /// what is left of the difference of two exponentials that other functions found in the forward.
  template <class Real>
  HD static void settle_alone(Real* values) {
    values[0] = std::numeric_limits<Real>::infinity();  // origin 0
    values[1] = Real{1};
  }
  template <class Real>
  HD static Real weight(const Row<Real>& row, Real x, Real e) {
    return x > 0 ? (e - row.origin) * row.factor : Real{0};
  }
  template <class Real>
  HD static Real slope(const Row<Real>& row, Real x, Real e) {
    return x > 0 ? e * row.factor : Real{0};
  }
  /// The sign of a difference of exponentials is the sign of x.
  template <class Real>
  HD static Real pull(const Row<Real>& row, Real x, Real e) {
    const Real sign = x > 0 ? Real{1} : (x < 0 ? Real{-1} : Real{0});
    return sign * e * row.factor;
  }
};

}  // namespace ssmax::normalizers::softpick
