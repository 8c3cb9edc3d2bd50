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
    if constexpr (requires { W::settle_alone(row.values); }) {
      if (visible.count == 1) W::settle_alone(row.values);
    }
    if constexpr (W::kFixesExtremes) {
      row.ends.argmin = end_key(visible, known.argmin);
      row.ends.argmax = end_key(visible, known.argmax);
    }
    return row;
  }
};

/// The terms of one key in one row.
template <Weighting W>
struct KeyTerms {
  float weight;
  float slope;
  float pull;

  __device__ KeyTerms(const RowOf<W, float>& row, float x2, float shift2, bool seen) {
    const float e = device::exp2_approx(cut_exponent2<W>(x2 - shift2));
    const float x = x2 * kLn2;
    weight = seen ? W::weight(row, x, e) : 0.0F;
    slope = seen ? W::slope(row, x, e) : 0.0F;
    pull = seen ? W::pull(row, x, e) : 0.0F;
  }
};

/// The weight of a row's only key.
template <Weighting W>
__device__ float weight_alone(const BackwardRow<W>& row, float score, const W& weighting) {
  return KeyTerms<W>(weighting.load(row.values, 1), score * row.scale2, row.shift2, true).weight;
}

}  // namespace ssmax::kernels::cuda
