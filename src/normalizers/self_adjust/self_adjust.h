#pragma once

#include <cmath>
#include <tuple>

#include "base/field.h"
#include "kernels/attention/row_scale.h"
#include "kernels/attention/weighting.h"

/// Self-Adjust Softmax: Zheng et al. 2025, arXiv 2502.18277. Probabilities times a factor of their
/// own score; a row's weights need not sum to 1. Minimum and maximum run over the visible keys and
/// pass gradients, to the first key on ties. A key alone weighs 1 under `normalized` if x > 0, else
/// 0; under `shifted` and `min_max` always 0.
namespace ssmax::normalizers::self_adjust {

enum class Variant : std::uint8_t {
  plain,      ///< x P
  shifted,    ///< (x - min) P
  min_max,    ///< (x - min) / (max - min) P
  normalized  ///< (x - min(min, 0)) / (max(max, 0) - min(min, 0)) P
};
constexpr auto enum_names(Variant) {
  return std::to_array<base::EnumName<Variant>>({{Variant::plain, "plain"},
                                                 {Variant::shifted, "shifted"},
                                                 {Variant::min_max, "min_max"},
                                                 {Variant::normalized, "normalized"}});
}

struct Options {
  Variant variant = Variant::normalized;
  kernels::ScaleOptions scale;

  static constexpr auto fields() {
    return std::tuple(base::field("variant", &Options::variant, "Which factor stands before P"),
                      base::field("scale", &Options::scale, "Row scale under the weighting"));
  }
};

/// weight = beta P with beta = (x - low) / spread, P = softmax(x). For a fixed low and spread dx_k
/// = P_k (beta_k g_k + g_k / spread - D); fix_up has what goes through them. Kept: L = ln sum e^x,
/// low, 1 / spread and the two keys; L alone of `plain`, where beta = x.
template <Variant kVariant>
struct Weighting {
  static constexpr kernels::RowNeeds kNeeds =
      kVariant == Variant::plain ? kernels::RowNeeds::maximum_and_sum : kernels::RowNeeds::extremes;
  static constexpr std::int64_t kRowValues = kVariant == Variant::plain ? 1 : 5;
  static constexpr bool kHeadParameter = false;
  static constexpr bool kFixesExtremes = kVariant != Variant::plain;
  static constexpr bool kScaleFree =
      kVariant == Variant::min_max || kVariant == Variant::normalized;
  static constexpr double kLargestExponent = std::numeric_limits<double>::infinity();

  template <class Real>
  struct Row {
    Real shift;                // e = e^(x - shift)
    Real factor;               // P = e * factor
    Real low = 0;              // minimum that beta counts from
    Real rate = 1;             // 1 / spread
    std::int64_t argmin = -1;  // key whose x is `low`; -1 when it is a constant
    std::int64_t argmax = -1;  // key whose x makes the spread's upper end; -1 likewise
  };

  template <class Real>
  HD static constexpr Real lowest_max() {
    return -std::numeric_limits<Real>::infinity();
  }
  template <class Real>
  HD static Real term(Real /*x*/, Real e, Real /*origin*/) {
    return e;
  }

  template <class Real>
  HD static Row<Real> provisional(Real max, Real /*origin*/) requires(kVariant == Variant::plain) {
    return {max, Real{1}};
  }
  /// A row without spread (at most 1e-7, as in the paper's code) has no weights and no gradient:
  /// there beta is a step.
  template <class Real>
  HD Row<Real> finish(const kernels::RowStatistic<Real>& s, Real /*head*/,
                      std::int64_t /*n*/) const {
    Row<Real> row{s.max, Real{1} / s.sum};
    if constexpr (kVariant == Variant::plain) return row;
    const bool always = kVariant != Variant::normalized;
    row.low = always || s.min < 0 ? s.min : Real{0};
    row.argmin = always || s.min < 0 ? s.argmin : -1;
    if constexpr (kVariant != Variant::shifted) {
      const Real high = always || s.max > 0 ? s.max : Real{0};
      row.argmax = always || s.max > 0 ? s.argmax : -1;
      const Real spread = high - row.low;
      row.rate = spread > static_cast<Real>(1e-7) ? Real{1} / spread : Real{0};
    }
    return row;
  }

  template <class Real>
  HD static void save(const Row<Real>& row, Real* values) {
    values[0] = row.shift - std::log(row.factor);
    if constexpr (kVariant != Variant::plain) {
      values[1] = row.low;
      values[2] = row.rate;
      values[3] = static_cast<Real>(row.argmin);
      values[4] = static_cast<Real>(row.argmax);
    }
  }
  template <class Real>
  HD Row<Real> load(const Real* values, std::int64_t /*n*/) const {
    if constexpr (kVariant == Variant::plain) {
      return {values[0], Real{1}};
    } else {
      return {values[0],
              Real{1},
              values[1],
              values[2],
              static_cast<std::int64_t>(values[3]),
              static_cast<std::int64_t>(values[4])};
    }
  }

  template <class Real>
  HD static Real weight(const Row<Real>& row, Real x, Real e) {
    return e * row.factor * ((x - row.low) * row.rate);
  }
  template <class Real>
  HD static Real pull(const Row<Real>& row, Real /*x*/, Real e) {
    return e * row.factor;
  }
  template <class Real>
  HD static Real outside(const Row<Real>& /*row*/, Real /*head*/) {
    return 0;
  }
  template <class Real>
  HD static Real share(const Row<Real>& row, Real /*x*/, Real e) {
    return e * row.factor;
  }
  template <class Real>
  HD static Real aim(const Row<Real>& row, Real x, Real g) {
    return (x - row.low) * row.rate * g;
  }
  template <class Real>
  HD static Real rise(const Row<Real>& row) {
    return row.rate;
  }
  /// beta is exactly 1 there, unless the row has no spread.
  template <class Real>
  HD static Real aim_at_max(const Row<Real>& row, Real g) {
    return row.rate > 0 ? g : Real{0};
  }

  /// With r = sum of dx for a fixed low and spread: d/d low = D rate - r, d/d high = -D rate; the
  /// shifted form has no spread.
  template <class Real>
  HD kernels::ExtremeGradients<Real> fix_up(const Row<Real>& row, Real d, Real r) const {
    if constexpr (kVariant == Variant::shifted) return {.at_min = -r, .at_max = 0};
    return {.at_min = d * row.rate - r, .at_max = -d * row.rate};
  }
};

}  // namespace ssmax::normalizers::self_adjust
