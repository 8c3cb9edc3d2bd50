#pragma once

#include "kernels/attention/tile_cuda.cuh"

/// What the passes with stationary queries share: the block's queries, the keys that they can see,
/// and the scores of a thread.
namespace ssmax::kernels::cuda {

/// Queries [t, t + rows) of head h of sequence b; the tiles with the most keys come first. Follows
/// from the block's index and arguments alone, so that it lives in registers of the whole warp.
struct QueryTile {
  int b;
  int h;
  int t;
  int rows;

  template <class T>
  __device__ QueryTile(const DeviceInputs<T>& in, int queries)
      : b(static_cast<int>(blockIdx.y)),
        h(static_cast<int>(blockIdx.x)),
        t(static_cast<int>(gridDim.z - 1 - blockIdx.z) * queries),
        rows(smaller(queries, in.time - t)) {}

  template <class T>
  __device__ int group(const DeviceInputs<T>& in) const {
    return h / in.heads_per_group;
  }
  template <class T>
  __device__ float row_scale(const DeviceInputs<T>& in, int r) const {
    return r < rows ? in.row_scale[in.row(b, h, t) + r] : 0.0F;
  }
  template <class T>
  __device__ Visible visible(const DeviceInputs<T>& in, int r) const {
    if (r >= rows) return {};
    const int first = in.first(b, t + r);
    return {first, in.first_position + t + r + 1 - first};
  }
  /// After the last key that a query sees.
  template <class T>
  __device__ int end_key(const DeviceInputs<T>& in) const {
    return in.first_position + t + rows;
  }
  /// Whether one of the rows up to the tile's row `last` sees `key` or one after it.
  template <class T>
  __device__ bool sees(const DeviceInputs<T>& in, int last, int key) const {
    return key <= in.first_position + t + last;
  }
};

/// The first keys of a tile's queries, in shared memory.
struct FirstKeys {
  int least;
  int most;

  /// From rows[r].visible; one warp calls it.
  template <int kQueries, class T, class Row>
  __device__ void find(const DeviceInputs<T>& in, const QueryTile& tile, const Row* rows) {
    int low = 0;
    int high = 0;
    if (in.first_key != nullptr) {
      low = tile.end_key(in);
      for (int r = device::lane_id(); r < kQueries; r += 32) {
        const Visible visible = rows[r].visible;
        if (visible.count == 0) continue;
        low = smaller(low, visible.first);
        high = larger(high, visible.first);
      }
      for (int distance = 16; distance > 0; distance /= 2) {
        low = smaller(low, __shfl_xor_sync(kAllLanes, low, distance));
        high = larger(high, __shfl_xor_sync(kAllLanes, high, distance));
      }
    }
    if (device::lane_id() == 0) *this = {low, high};
  }

  /// Whether some of the tile's queries do not see all of [key, key + keys), or with a bias.
  template <class T>
  __device__ bool is_general(const DeviceInputs<T>& in, const QueryTile& tile, int key,
                             int keys) const {
    return key + keys > in.first_position + tile.t + 1 || in.alibi != nullptr ||
           (in.first_key != nullptr && key < most);
  }
};

/// s = s scale + slope2 (key - position), for the elements of one row; `distance` is the latter for
/// the thread's first column.
template <int kN>
__device__ void add_bias(float (&s)[kN][4], int half, float scale, float slope2, int distance) {
#pragma unroll
  for (int n = 0; n < kN; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float& score = s[n][2 * half + i];
      score = fmaf(score, scale, slope2 * static_cast<float>(distance + 8 * n + i));
    }
  }
}

/// Scores to exponents of 2.
template <bool kGeneral, int kN>
__device__ void scale_scores(float (&s)[kN][4], int half, float scale, float slope2, int distance) {
  if constexpr (kGeneral) {
    if (slope2 != 0.0F) {
      add_bias(s, half, scale, slope2, distance);
      return;
    }
  }
#pragma unroll
  for (int n = 0; n < kN; ++n) {
    s[n][2 * half] *= scale;
    s[n][2 * half + 1] *= scale;
  }
}

template <int kN>
__device__ void mask(float (&s)[kN][4], int half, const Visible& visible, int key) {
#pragma unroll
  for (int n = 0; n < kN; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float& score = s[n][2 * half + i];
      score = visible(key + 8 * n + i) ? score : kMasked;
    }
  }
}

/// An exponent of 2, cut where the weighting says.
template <Weighting W>
__device__ float cut_exponent2(float exponent2) {
  if constexpr (W::kLargestExponent == std::numeric_limits<double>::infinity()) {
    return exponent2;
  } else {
    return fminf(exponent2, static_cast<float>(W::kLargestExponent) * kLog2E);
  }
}

}  // namespace ssmax::kernels::cuda
