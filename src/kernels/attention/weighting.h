#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>

#include "base/host_device.h"

/// Weightings: how a row x_0 .. x_{n-1} of scaled scores becomes weights, and the three terms of
/// its Jacobian. Written once as host-device functions over the real type; attention on the CPU and
/// on CUDA is a template over them.
///
/// The keys of a row influence each other through one scalar, if at all, so with g_j = dO.v_j
///   dx_k = pull_k (aim_k + rise g_k - D),  D = sum_j weight_j g_j = dO.O
/// where a weight is a share of the row times a factor, and aim is g times that factor:
///   Softmax, sink  weight P               pull P              aim g               rise 0
///   Self-Adjust    weight beta P          pull P              aim beta g          rise 1 / spread
///   softpick       weight share if x > 0  pull sign(x) e / S  aim g if x > 0      rise 0
/// with beta = (x - low) / spread and share = |e^x - 1| / sum |e^x - 1|. Sigmoid has dx = slope g
/// alone; what is solved from the whole row has a sum of its own in place of D.
namespace ssmax::kernels {

/// What a row leaves behind when its keys are seen one after the other; two of them merge into one.
template <class Real>
struct RowStatistic {
  Real max = -std::numeric_limits<Real>::infinity();
  Real min = std::numeric_limits<Real>::infinity();
  std::int64_t argmax = 0;  ///< first key that has the maximum
  std::int64_t argmin = 0;
  Real sum = 0;  ///< of term(x, e^(x - max), e^(-max)) over the keys
};

/// What a weighting wants of the statistic, each level with what stands before it.
enum class RowNeeds : std::uint8_t { nothing, maximum_and_sum, extremes };

/// Added to dx at the keys that hold the row's minimum and maximum.
template <class Real>
struct ExtremeGradients {
  Real at_min = 0;
  Real at_max = 0;
};

/// A weighting whose statistic is a monoid: it can be tiled. Members, with e = e^(x - row.shift):
///   kNeeds, kRowValues (reals saved per row), kHeadParameter (one learned or fixed real per head)
///   kFixesExtremes (the gradient through minimum and maximum is added by fix_up)
///   kLargestExponent               x - row.shift is cut there before it becomes e
///   lowest_max<Real>()             the maximum of no keys
///   term(x, e, origin)             part of a key in the sum; origin = e^(-max)
///   finish(statistic, head, n)     the row; its shift is statistic.max if there is one
///   save(row, values), load(values, n)   a loaded row may have another shift
///   weight(row, x, e)
///   slope(row, x, e)               dx = slope g, of keys that do not influence each other; others
///                                  are SharingWeightings
///   head_constant()                the head parameter when it is not learned
///   head_gradient(row, D, head)    gradient of the head parameter from one row
///   fix_up(row, D, r)              with r = sum of dx without the fix-up; lands on row.argmin and
///                                  row.argmax, -1 where that extreme is a constant. The terms of
///                                  these keys' own g cancel: where their dx is weight g - pull D,
///                                  they are left out of D and r too
template <class W>
concept MonoidWeighting = requires(const W& w, const RowStatistic<float>& s, float x) {
  { W::kNeeds } -> std::convertible_to<RowNeeds>;
  w.weight(w.finish(s, x, std::int64_t{1}), x, x);
};

template <class W, class Real>
using RowOf = typename W::template Row<Real>;

/// A monoid weighting whose sum only divides: provisional(max, origin) is the row while keys still
/// come, with origin = e^(-max), and a weight under it times e^(max - last max) times
/// finish(...).factor is final.
template <class W>
concept OnePassWeighting = MonoidWeighting<W> && requires(const W& w, float x) {
  w.provisional(x, x);
};

/// A monoid weighting over probabilities e * row.factor. Under a loaded row the e and
/// outside(row, head), the part of no key, sum to 1 but for the rounding of row.shift.
template <class W>
concept ProbabilityWeighting = MonoidWeighting<W> && requires(RowOf<W, float> row, float head) {
  W::outside(row, head);
};

/// A weighting of keys that share a row: dx = pull (aim + rise g - D), with
///   pull(row, x, e)
///   share(row, x, e)      over a row they and outside(row, head), if there is one, sum to 1
///   aim(row, x, g)        weight g = share aim, so that D is the mean of aim
///   rise(row)             when it is not 0
///   aim_at_max(row, g)    where extremes are fixed: aim of row.argmax; that of row.argmin is 0
template <class W>
concept SharingWeighting = MonoidWeighting<W> && requires(RowOf<W, float> row, float x) {
  W::share(row, x, x);
  W::aim(row, x, x);
};

/// A weighting with a rise.
template <class W>
concept RisingWeighting = SharingWeighting<W> && requires(RowOf<W, float> row) {
  W::rise(row);
};

/// A weighting of which a key with x = 0 weighs and pulls nothing, whatever e is.
template <class W>
concept NeutralZeroWeighting = MonoidWeighting<W> && requires {
  requires W::kNeutralZero;
};

/// A weighting with a parameter per head.
template <class W>
concept HeadWeighting = MonoidWeighting<W> && requires {
  requires W::kHeadParameter;
};

/// A weighting beta P with a beta that stays when all x are multiplied by one factor: the part of
/// dx that goes through beta, times x, sums to 0 over a row.
template <class W>
concept ScaleFreeWeighting = MonoidWeighting<W> && requires {
  requires W::kScaleFree;
};

/// A whole row of scaled scores, in memory.
template <class Real>
struct WholeRow {
  const Real* x;
  std::int64_t n;

  HD Real max() const {
    Real most = x[0];
    for (std::int64_t j = 1; j < n; ++j) most = x[j] > most ? x[j] : most;
    return most;
  }
  /// sum_j part(x_j)
  template <class Part>
  HD Real sum(const Part& part) const {
    Real total = 0;
#pragma omp simd reduction(+ : total)
    for (std::int64_t j = 0; j < n; ++j) total += part(x[j]);
    return total;
  }
};

/// A weighting that must be solved from the whole row:
///   solve(whole) -> row, weight(row, x), pull(row, x), coupling(row, x)
/// where whole.max() and whole.sum(part) are all that solve may ask. dx = pull (g - sum coupling
/// g), and the couplings of a row sum to 1.
template <class W>
concept SolvingWeighting = requires(const W& w, const WholeRow<float>& whole, float value) {
  w.coupling(w.solve(whole), value);
};

template <class W>
concept Weighting = MonoidWeighting<W> || SolvingWeighting<W>;

/// The exponent of e of a key.
template <class W, class Row, class Real>
HD Real exponent(const Row& row, Real x) {
  const Real t = x - row.shift;
  if constexpr (W::kLargestExponent == std::numeric_limits<double>::infinity()) {
    return t;
  } else {
    return t < static_cast<Real>(W::kLargestExponent) ? t : static_cast<Real>(W::kLargestExponent);
  }
}

/// weight = P = e^x / sum e^x, dx = P (g - D). Kept: L = ln sum e^x.
struct SoftmaxWeighting {
  static constexpr RowNeeds kNeeds = RowNeeds::maximum_and_sum;
  static constexpr std::int64_t kRowValues = 1;
  static constexpr bool kHeadParameter = false;
  static constexpr bool kFixesExtremes = false;
  static constexpr double kLargestExponent = std::numeric_limits<double>::infinity();

  template <class Real>
  struct Row {
    Real shift;   // e = e^(x - shift)
    Real factor;  // P = e * factor
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
  HD static Row<Real> provisional(Real max, Real /*origin*/) {
    return {max, Real{1}};
  }
  template <class Real>
  HD Row<Real> finish(const RowStatistic<Real>& statistic, Real /*head*/,
                      std::int64_t /*n*/) const {
    return {statistic.max, Real{1} / statistic.sum};
  }
  template <class Real>
  HD static void save(const Row<Real>& row, Real* values) {
    values[0] = row.shift - std::log(row.factor);
  }
  template <class Real>
  HD Row<Real> load(const Real* values, std::int64_t /*n*/) const {
    return {values[0], Real{1}};
  }
  template <class Real>
  HD static Real weight(const Row<Real>& row, Real /*x*/, Real e) {
    return e * row.factor;
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
  HD static Real aim(const Row<Real>& /*row*/, Real /*x*/, Real g) {
    return g;
  }
};

/// Weights that are e times a factor of the row.
template <class W>
concept ExponentialWeighting = std::derived_from<W, SoftmaxWeighting>;

}  // namespace ssmax::kernels
