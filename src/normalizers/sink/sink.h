#pragma once

#include <tuple>

#include "base/field.h"
#include "kernels/attention/row_scale.h"
#include "kernels/attention/weighting.h"

/// One more logit a_h of every head that takes weight and has no value: learned as in gpt-oss, or
/// fixed; a = 0 is softmax-off-by-one (Miller 2023).
namespace ssmax::normalizers::sink {

struct Options {
  bool learned = true;
  double initial_sink = 0.0;
  kernels::ScaleOptions scale;

  static constexpr auto fields() {
    return std::tuple(
        base::field("learned", &Options::learned,
                    "Learn the sink of every layer and head; else it stays initial_sink"),
        base::field("initial_sink", &Options::initial_sink, "The sink's logit at the start"),
        base::field("scale", &Options::scale, "Row scale of the keys' scores, not of the sink"));
  }
};

/// weight = e^(x - L) with L = ln(e^a + sum e^x), so that a row sums to less than 1; dx = weight
/// (g - D). Kept: L.
struct Weighting : kernels::SoftmaxWeighting {
  static constexpr bool kHeadParameter = true;

  double constant = 0.0;  ///< a when it is not learned

  explicit Weighting(double fixed) : constant(fixed) {}

  HD double head_constant() const { return constant; }

  template <class Real>
  HD Row<Real> finish(const kernels::RowStatistic<Real>& s, Real head, std::int64_t /*n*/) const {
    const Real top = s.max > head ? s.max : head;
    const Real total = s.sum * std::exp(s.max - top) + std::exp(head - top);
    return {s.max, std::exp(s.max - top) / total};
  }
  /// L from max and factor; written so that a factor of 0, where the sink takes all, stays finite.
  template <class Real>
  HD static void save(const Row<Real>& row, Real* values) {
    const Real least = std::numeric_limits<Real>::min();
    values[0] = row.shift - std::log(row.factor > least ? row.factor : least);
  }
  /// The sink's own weight e^(a - L). A saved L is below a where the sink takes all.
  template <class Real>
  HD static Real outside(const Row<Real>& row, Real head) {
    return head < row.shift ? std::exp(head - row.shift) : Real{1};
  }
  /// da = -e^(a - L) D
  template <class Real>
  HD static Real head_gradient(const Row<Real>& row, Real d, Real head) {
    return -outside(row, head) * d;
  }
};

}  // namespace ssmax::normalizers::sink
