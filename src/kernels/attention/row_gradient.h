#pragma once

#include "kernels/attention/weighting.h"

/// The gradient of one whole row in fp32, written once for the rows of the CPU and the row kernels
/// of CUDA. What would cancel is left out, or subtracted before anything is rounded:
///
///  * Probabilities are divided by their own sum. L is known to 2^-24 of itself, and where one key
///    dominates a row dx is smaller than what that does to all of them.
///  * D is summed in two parts, the second being the mean of what the first one lacks. aim - D is
///    then as exact as its own size, were all aims alike or did one key have nearly all of the row;
///    and it is formed before it is multiplied by anything.
///  * At the ends of a row beta is 0 or 1 whatever the scores are, so the ends' own g stays out of
///    the terms with 1 / spread: these have no bound, and it would only cancel there.
///  * The sum of dx is, in exact arithmetic, that of the rising terms alone.
///
/// A backend's hold of a row is `keys`:
///   exponentiate(row)         sum of e over the keys, where a weighting divides by it
///   take_end(key)             a RowEnd, out of the row from then on
///   sum(part), sums(part)     sum of part(x, g, e), a float or a PairOfSums, over the keys
///   replace(change)           x = change(x, g, e).weight, g = .dx; returns the sum of .frozen
///   put(end, weight, dx)      x and g of an end, after `replace`
namespace ssmax::kernels {

struct RowTotals {
  float d = 0;       ///< D
  float frozen = 0;  ///< sum of x times dx at a fixed beta, of weightings that are scale free
};

struct PairOfSums {
  float first;
  float second;
};

/// A key that holds an end of a row.
struct RowEnd {
  std::int64_t key = -1;  ///< -1 where the end is a constant, and in a row of NaN
  float x = 0;
  float g = 0;
  float e = 0;
};

/// What becomes of a key.
struct KeyGradient {
  float weight;
  float dx;
  float frozen;
};

/// Replaces x by the weights and g = dO.v by dx. D is summed here: with bf16 activations the stored
/// O is rounded, and gradients of row scales and sinks feel that.
template <SharingWeighting W, class Keys>
HD RowTotals differentiate_keys(Keys& keys, const RowOf<W, float>& loaded, float head,
                                const W& weighting) {
  RowOf<W, float> row = loaded;
  const float sum = keys.exponentiate(row);
  float outside = 0;
  if constexpr (ProbabilityWeighting<W>) {
    outside = W::outside(row, head);
    row.factor = 1.0F / (sum + outside);
    outside *= row.factor;
  }
  RowEnd ends[2];
  float end_aims[2] = {};
  if constexpr (W::kFixesExtremes) {
    ends[0] = keys.take_end(row.argmin);
    ends[1] = keys.take_end(row.argmax);
    end_aims[1] = W::aim_at_max(row, ends[1].g);
  }
  const auto add_ends = [&](float mean, float from) {
    for (int i = 0; i < 2; ++i) {
      mean += W::share(row, ends[i].x, ends[i].e) * (end_aims[i] - from);
    }
    return mean;
  };
  PairOfSums between{};  // D, and the sum of shares times g, of all but the ends
  if constexpr (W::kFixesExtremes) {
    between = keys.sums([&](float x, float g, float e) {
      const float share = W::share(row, x, e);
      return PairOfSums{share * W::aim(row, x, g), share * g};
    });
  } else {
    between.first = keys.sum(
        [&](float x, float g, float e) { return W::share(row, x, e) * W::aim(row, x, g); });
  }
  const float d = add_ends(between.first, 0.0F);
  const float lacking_between = keys.sum(
      [&](float x, float g, float e) { return W::share(row, x, e) * (W::aim(row, x, g) - d); });
  const float lacking = add_ends(lacking_between, d) - outside * d;
  const float frozen = keys.replace([&](float x, float g, float e) {
    const float pull = W::pull(row, x, e);
    const float lead = (W::aim(row, x, g) - d) - lacking;
    float total = lead;
    if constexpr (RisingWeighting<W>) total += W::rise(row) * g;
    return KeyGradient{W::weight(row, x, e), pull * total, pull * lead * x};
  });
  RowTotals sums{d + lacking, frozen};
  if constexpr (W::kFixesExtremes) {
    const ExtremeGradients<float> extra =
        weighting.fix_up(row, between.first, W::rise(row) * between.second);
    const float due[2] = {extra.at_min, extra.at_max};
    for (int i = 0; i < 2; ++i) {
      if (ends[i].key < 0) continue;
      const float share = W::share(row, ends[i].x, ends[i].e);
      const float dx = share * ((end_aims[i] - d) - lacking);
      sums.frozen += dx * ends[i].x;
      keys.put(ends[i], W::weight(row, ends[i].x, ends[i].e), dx + due[i]);
    }
  }
  return sums;
}

/// Keys on their own.
template <MonoidWeighting W, class Keys>
HD RowTotals differentiate_keys(Keys& keys, const RowOf<W, float>& row, float /*head*/,
                                const W& /*weighting*/) {
  keys.exponentiate(row);
  keys.replace([&](float x, float g, float e) {
    return KeyGradient{W::weight(row, x, e), W::slope(row, x, e) * g, 0.0F};
  });
  return {};
}

template <SolvingWeighting W, class Keys>
HD RowTotals differentiate_keys(Keys& keys, const RowOf<W, float>& row, float /*head*/,
                                const W& weighting) {
  const float d =
      keys.sum([&](float x, float g, float /*e*/) { return weighting.coupling(row, x) * g; });
  const float lacking =
      keys.sum([&](float x, float g, float /*e*/) { return weighting.coupling(row, x) * (g - d); });
  keys.replace([&](float x, float g, float /*e*/) {
    return KeyGradient{weighting.weight(row, x), weighting.pull(row, x) * ((g - d) - lacking),
                       0.0F};
  });
  return {.d = d + lacking};
}

}  // namespace ssmax::kernels
