#pragma once

#include "kernels/attention/tile_cuda.cuh"

/// What the passes with stationary queries share: the block's queries, the range of keys that they
/// can see, and the scores of a thread.
namespace ssmax::kernels::cuda {

/// Keys [begin, end) in whole tiles from `begin`. Every row sees [plain_begin, plain_end), without
/// a bias; elsewhere tiles are general.
struct KeyRange {
  int begin = 0;
  int end = 0;
  int plain_begin = 0;
  int plain_end = 0;

  __device__ bool is_general(int key, int keys) const {
    return key < plain_begin || key + keys > plain_end;
  }
};

/// Queries [t, t + rows) of head h of sequence b; the tiles with the most keys come first. Lies in
/// shared memory, where it costs no registers between its uses.
struct QueryTile {
  int b;
  int h;
  int group;
  int t;
  int rows;
  KeyRange range;

  template <class T>
  __device__ void set(const DeviceInputs<T>& in, int queries) {
    b = static_cast<int>(blockIdx.x) / in.heads;
    h = static_cast<int>(blockIdx.x) % in.heads;
    group = h / in.heads_per_group;
    t = static_cast<int>(gridDim.y - 1 - blockIdx.y) * queries;
    rows = smaller(queries, in.time - t);
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

  /// Sets the range from tile_rows[r].visible; one warp calls it.
  template <int kQueries, class T, class Row>
  __device__ void find_keys(const DeviceInputs<T>& in, const Row* tile_rows) {
    const int end = in.first_position + t + rows;
    int least = 0;
    int most = 0;
    if (in.first_key != nullptr) {
      least = end;
      for (int r = device::lane_id(); r < kQueries; r += 32) {
        const Visible visible = tile_rows[r].visible;
        if (visible.count == 0) continue;
        least = smaller(least, visible.first);
        most = larger(most, visible.first);
      }
      for (int distance = 16; distance > 0; distance /= 2) {
        least = smaller(least, __shfl_xor_sync(kAllLanes, least, distance));
        most = larger(most, __shfl_xor_sync(kAllLanes, most, distance));
      }
    }
    if (device::lane_id() == 0) {
      range = {least, end, most, in.alibi == nullptr ? in.first_position + t + 1 : 0};
    }
  }
};

template <class T>
dim3 query_grid(const DeviceInputs<T>& in, std::int64_t batch, int queries) {
  return {static_cast<unsigned>(batch * in.heads),
          static_cast<unsigned>((in.time + queries - 1) / queries), 1};
}

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
