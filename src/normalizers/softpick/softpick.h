#pragma once

#include <cmath>
#include <concepts>
#include <tuple>

#include "base/field.h"
#include "kernels/attention/weighting.h"

/// Softpick: Zuhri et al., "Softpick: No Attention Sink, No Massive Activations with Rectified
/// Softmax", 2025, arXiv 2504.20966: weight = relu(e^x - 1) / sum |e^x - 1|. Rows need not sum to
/// 1; negative scores weigh nothing, but count in the sum.
namespace ssmax::normalizers::softpick {

struct Options {
  static constexpr auto fields() { return std::tuple(); }
};

/// weight = relu(e^(x-m) - e^-m) / S with m = max(x, 0), S = sum |e^(x-m) - e^-m|; dx = e^(x-m) / S
/// (g - D) where x > 0, e^(x-m) / S D where x < 0. Kept: m, 1/S, e^-m.
struct Weighting {
  static constexpr kernels::RowNeeds kNeeds = kernels::RowNeeds::maximum_and_sum;
  static constexpr std::int64_t kRowValues = 3;
  static constexpr bool kHeadParameter = false;
  static constexpr bool kFixesExtremes = false;
  static constexpr bool kNeutralZero = true;
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
  /// e^x - 1 where |x| < kNear, by a polynomial that is off by 1.5e-7 of it in fp32.
  static constexpr double kNear = 0.25;
  template <class Real>
  HD static Real near_origin(Real x) {
    if constexpr (std::same_as<Real, double>) {
      return std::expm1(x);
    } else {
      Real p = Real{8.3359396e-3F};
      p = p * x + Real{4.1774191e-2F};
      p = p * x + Real{1.6666710e-1F};
      p = p * x + Real{4.9999836e-1F};
      p = p * x + Real{1};
      return p * x;
    }
  }
  /// e^(x-m) - e^-m. Near x = 0 the difference of the two would have lost its digits, and a row of
  /// small scores has no others.
  template <class Real>
  HD static Real difference(Real x, Real e, Real origin) {
    return std::abs(x) < static_cast<Real>(kNear) ? near_origin(x) * origin : e - origin;
  }

  template <class Real>
  HD static Real term(Real x, Real e, Real origin) {
    return std::abs(difference(x, e, origin));
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
    values[2] = row.origin;
  }
  template <class Real>
  HD Row<Real> load(const Real* values, std::int64_t /*n*/) const {
    return {values[0], values[1], values[2]};
  }
  template <class Real>
  HD static Real weight(const Row<Real>& row, Real x, Real e) {
    return x > 0 ? difference(x, e, row.origin) * row.factor : Real{0};
  }
  /// The sign of a difference of exponentials is the sign of x.
  template <class Real>
  HD static Real pull(const Row<Real>& row, Real x, Real e) {
    const Real e_signed = x > 0 ? e : (x < 0 ? -e : Real{0});
    return e_signed * row.factor;
  }
  template <class Real>
  HD static Real share(const Row<Real>& row, Real x, Real e) {
    return term(x, e, row.origin) * row.factor;
  }
  template <class Real>
  HD static Real aim(const Row<Real>& /*row*/, Real x, Real g) {
    return x > 0 ? g : Real{0};
  }
};

}  // namespace ssmax::normalizers::softpick
