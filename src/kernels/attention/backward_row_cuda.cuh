#pragma once

#include "kernels/attention/query_tile_cuda.cuh"

/// The fused backward, in one of two forms; in both every sum has one owner and a fixed order.
///
/// Apart: the query pass keeps queries stationary and gives dq, dc, and per row what the key pass
/// needs, an exact D among it; the key pass keeps keys stationary and gives dk and dv, over all
/// heads that share the keys. Scores are computed in both: seven products. Any shape, any
/// weighting.
///
/// Together: rows are prepared, with D from the stored output; the key pass goes over the keys of a
/// head tile after tile, and adds to dq' = sum_j dx_j k_j in memory: five products. Its blocks are
/// heads, so there must be enough of them; and gradients through a row's ends must be known by
/// then.
namespace ssmax::kernels::cuda {

enum class BackwardForm : unsigned char { apart, together };

/// Gradients of the scores of the keys that hold a row's ends, beside those of all keys.
struct EndGradients {
  float at_min;
  float at_max;
  int argmin;  ///< -1: a constant
  int argmax;
};
struct NoEndGradients {};

/// The key of an end of a row; -1 where the end is a constant, and in a row of NaN.
__device__ inline int end_key(const Visible& visible, std::int64_t index) {
  const bool found = index >= 0 && index < visible.count;
  return found ? visible.first + static_cast<int>(index) : -1;
}

/// A row as both passes see it, with room at the end so that rows lie an odd multiple of 16 bytes
/// apart: what eight rows hold at the same place are then different banks of shared memory.
template <Weighting W>
struct alignas(16) BackwardRow {
  Visible visible;
  float scale2;       // scores times this are exponents of 2
  float shift2;       // e = 2^(x2 - shift2)
  float coefficient;  // c tau: scores' gradients from those of x
  float d;            // D
  float values[W::kRowValues];
  [[no_unique_address]] std::conditional_t<W::kFixesExtremes, EndGradients, NoEndGradients> ends;

 private:
  static constexpr int kBytes = 24 + 4 * W::kRowValues + (W::kFixesExtremes ? 16 : 0);
  struct Room {
    float unused[4];
  };
  struct NoRoom {};
  [[no_unique_address]] std::conditional_t<(kBytes + 15) / 16 % 2 == 0, Room, NoRoom> room_;
};

template <Weighting W>
struct BackwardArguments {
  DeviceInputs<Bf16> in;
  Heads<const Bf16> out;
  Heads<const Bf16> dout;
  Heads<Bf16> dq;
  Heads<Bf16> dk;
  Heads<Bf16> dv;
  const float* saved;    // (B, H, T, kRowValues)
  float* drow_scale;     // (B, H, T)
  BackwardRow<W>* rows;  // (B, H, T)
  W weighting;
  float4* query_sums;  // dq' of the form together, as QuerySums has it

  /// What is known of a row before D.
  __device__ BackwardRow<W> known_row(int b, int h, int t, const Visible& visible) const {
    const std::int64_t index = in.row(b, h, t);
    BackwardRow<W> row{};
    row.visible = visible;
    row.coefficient = in.row_scale[index] * in.tau;
    row.scale2 = row.coefficient * kLog2E;
    for (int i = 0; i < W::kRowValues; ++i) row.values[i] = saved[index * W::kRowValues + i];
    const auto known = weighting.load(row.values, visible.count);
    row.shift2 = known.shift * kLog2E;
    if constexpr (W::kFixesExtremes) {
      row.ends.argmin = end_key(visible, known.argmin);
      row.ends.argmax = end_key(visible, known.argmax);
    }
    return row;
  }
};

/// The terms of one key in one row: dx = pull (aim + rise g - D), or slope g of keys on their own.
template <MonoidWeighting W>
class KeyTerms {
 public:
  __device__ KeyTerms(const RowOf<W, float>& row, float x2, float shift2, bool seen)
      : row_(row),
        x_(seen || !kHasNeutral ? x2 * kLn2 : 0.0F),
        e_(device::exp2_approx(cut_exponent2<W>(x2 - shift2))),
        seen_(seen || kHasNeutral) {}

  __device__ float weight() const { return seen_ ? W::weight(row_, x_, e_) : 0.0F; }
  __device__ float pull() const { return seen_ ? W::pull(row_, x_, e_) : 0.0F; }
  __device__ float slope() const { return seen_ ? W::slope(row_, x_, e_) : 0.0F; }
  __device__ float aim(float g) const { return W::aim(row_, x_, g); }

 private:
  /// A key that is not seen may have the score 0 instead, where that weighs and pulls nothing.
  static constexpr bool kHasNeutral = NeutralZeroWeighting<W>;

  const RowOf<W, float>& row_;
  float x_;
  float e_;
  bool seen_;
};

/// D of a row of one key, from its score and g: its aim, unless a part of the row is outside.
template <MonoidWeighting W>
__device__ float lone_d(const BackwardRow<W>& row, float score, float g, const W& weighting) {
  const RowOf<W, float> known = weighting.load(row.values, 1);
  const KeyTerms<W> terms(known, score * row.scale2, row.shift2, true);
  if constexpr (SharingWeighting<W> && !HeadWeighting<W>) return terms.aim(g);
  return terms.weight() * g;
}

/// D = dO.O of the stored O. With one key D cancels the rest of dx, whose terms have no bound:
/// there it is of the key itself. kLanes lanes have a row, and q and dO from `column` on are a
/// lane's.
template <int kLanes, MonoidWeighting W>
__device__ float stored_d(const BackwardArguments<W>& a, const BackwardRow<W>& row, int b, int h,
                          int t, int column, const Bf16* q, const Bf16* dout) {
  const bool alone = row.visible.count == 1;
  const int group = h / a.in.heads_per_group;
  float d = 0.0F;
  float score = 0.0F;
  if (row.visible.count > 0 && column < a.in.q.head_size) {
    const auto dot = [](const Bf16* left, const Bf16* right) {
      const auto l = device::load_pack(left);
      const auto r = device::load_pack(right);
      float sum = 0.0F;
#pragma unroll
      for (int i = 0; i < 8; ++i) sum += l[i] * r[i];
      return sum;
    };
    const Bf16* values = alone ? a.in.v.at(b, row.visible.first, group) : a.out.at(b, t, h);
    d = dot(values + column, dout);
    if (alone) score = dot(a.in.k.at(b, row.visible.first, group) + column, q);
  }
  d = device::warp_reduce<device::Sum, kLanes>(d);
  score = device::warp_reduce<device::Sum, kLanes>(score);
  return alone ? lone_d(row, score, d, a.weighting) : d;
}

}  // namespace ssmax::kernels::cuda
