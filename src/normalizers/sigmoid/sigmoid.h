#pragma once

#include <tuple>

#include "base/field.h"
#include "kernels/attention/weighting.h"

/// Sigmoid attention: Ramapuram et al., "Theory, Analysis, and Best Practices for Sigmoid
/// Self-Attention", 2024, with the bias b = -ln n. Keys do not influence each other.
namespace ssmax::normalizers::sigmoid {

struct Options {
  static constexpr auto fields() { return std::tuple(); }
};

/// weight y = 1 / (1 + e^-(x - ln n)), dx = g y (1 - y).
struct Weighting {
  static constexpr kernels::RowNeeds kNeeds = kernels::RowNeeds::nothing;
  static constexpr std::int64_t kRowValues = 1;
  static constexpr bool kHeadParameter = false;
  static constexpr bool kFixesExtremes = false;
  /// Beyond it the weight is 1 in every precision, and e must stay finite.
  static constexpr double kLargestExponent = 80.0;

  template <class Real>
  struct Row {
    Real shift;  // ln n
  };

  template <class Real>
  HD static constexpr Real lowest_max() {
    return -std::numeric_limits<Real>::infinity();
  }
  template <class Real>
  HD static Real term(Real /*x*/, Real /*e*/, Real /*origin*/) {
    return 0;
  }
  template <class Real>
  HD Row<Real> finish(const kernels::RowStatistic<Real>& /*statistic*/, Real /*head*/,
                      std::int64_t n) const {
    return {std::log(static_cast<Real>(n))};
  }
  template <class Real>
  HD static void save(const Row<Real>& row, Real* values) {
    values[0] = row.shift;
  }
  template <class Real>
  HD Row<Real> load(const Real* values, std::int64_t /*n*/) const {
    return {values[0]};
  }
  template <class Real>
  HD static Real weight(const Row<Real>& /*row*/, Real /*x*/, Real e) {
    return e / (Real{1} + e);
  }
  template <class Real>
  HD static Real slope(const Row<Real>& /*row*/, Real /*x*/, Real e) {
    const Real rest = Real{1} / (Real{1} + e);
    return e * rest * rest;
  }
};

}  // namespace ssmax::normalizers::sigmoid
