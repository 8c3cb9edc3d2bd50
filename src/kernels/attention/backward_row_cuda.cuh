#pragma once

#include "kernels/attention/query_tile_cuda.cuh"

/// The fused backward, in two passes so that every sum has one owner and a fixed order. Queries
/// stationary: dq, dc, and per row what the other pass needs, D among it. Keys stationary: dk and
/// dv, over all heads that share the keys. Scores are computed in both: seven products where one
/// pass with atomics needs five.
namespace ssmax::kernels::cuda {

/// Gradients of the scores of the keys that hold a row's ends, beside those of all keys.
struct EndGradients {
  float at_min;
  float at_max;
  int argmin;  ///< -1: a constant
  int argmax;
};
struct NoEndGradients {};

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

}  // namespace ssmax::kernels::cuda
