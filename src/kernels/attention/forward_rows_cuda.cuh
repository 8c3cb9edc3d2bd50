#pragma once

#include "kernels/attention/query_tile_cuda.cuh"

/// The rows of a fused forward pass: scores of a tile of keys to weights, and the statistics of
/// rows that weights need.
namespace ssmax::kernels::cuda {

template <Weighting W>
struct ForwardRow {
  Visible visible;
  float scale2;  // scores times this are exponents of 2
  float shift2;  // e = 2^(x2 - shift2), once the row is known
  RowOf<W, float> row;
};

template <Weighting W>
struct ForwardArguments {
  DeviceInputs<Bf16> in;
  Heads<Bf16> out;
  float* saved;  // (B, H, T, kRowValues) or null
  W weighting;
};

/// The statistic of a thread's rows while keys come, in the units of the scores: the scale is
/// positive, so that the largest score has the largest exponent.
template <int kM>
struct RunningRows {
  float max[kM][2];
  float sum[kM][2];
  float rescale[kM][2];  // brings what was summed before the last tile to its maximum
};

/// The weights of scores under the running maximum: put(m, n, half, w0, w1) takes two that lie side
/// by side.
template <bool kGeneral, OnePassWeighting W, int kM, int kN, class Put>
__device__ void absorb(float (&s)[kM][kN][4], RunningRows<kM>& running, const ForwardRow<W>* rows,
                       float slope2, int key, const W& weighting, const Put& put) {
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const ForwardRow<W>& row = rows[16 * m + 8 * half];
      const Visible visible = row.visible;
      float scale = row.scale2;
      if constexpr (kGeneral) {
        if (slope2 != 0.0F) {
          add_bias(s[m], half, scale, slope2, key - visible.last());
          scale = 1.0F;
        }
        mask(s[m], half, visible, key);
      }
      float& max = running.max[m][half];
      float top = max;
#pragma unroll
      for (int n = 0; n < kN; ++n) {
        top = fmaxf(top, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
      }
      top = quad_max(top);
      const float shift2 = top * scale;
      const float rescale = device::exp2_approx((max - top) * scale);
      max = top;
      const float origin = device::exp2_approx(-shift2);
      const auto provisional = weighting.provisional(shift2 * kLn2, origin);
      const float natural = scale * kLn2;
      float sum = 0.0F;
#pragma unroll
      for (int n = 0; n < kN; ++n) {
        float weights[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float score = s[m][n][2 * half + i];
          const float e = device::exp2_approx(fmaf(score, scale, -shift2));
          const float x = score * natural;
          float term = W::term(x, e, origin);
          float weight = weighting.weight(provisional, x, e);
          if constexpr (kGeneral) {
            const bool seen = visible(key + 8 * n + i);
            term = seen ? term : 0.0F;
            weight = seen ? weight : 0.0F;
          }
          sum += term;
          weights[i] = weight;
        }
        put(m, n, half, weights[0], weights[1]);
      }
      running.sum[m][half] = running.sum[m][half] * rescale + sum;
      running.rescale[m][half] = rescale;
    }
  }
}

/// The first pass of weightings that need the row's ends: minimum, maximum and sum of the keys in a
/// thread's columns. Scores become exponents of 2.
struct Ends {
  float max = kMasked;
  float min = -kMasked;
  float sum = 0.0F;
  int argmax = 0;
  int argmin = 0;

  __device__ void merge(const Ends& other) {
    const float top = fmaxf(max, other.max);
    sum = sum * device::exp2_approx(max - top) + other.sum * device::exp2_approx(other.max - top);
    if (other.max > max || (other.max == max && other.argmax < argmax)) argmax = other.argmax;
    if (other.min < min || (other.min == min && other.argmin < argmin)) argmin = other.argmin;
    max = top;
    min = fminf(min, other.min);
  }
  __device__ Ends of_lane(int distance) const {
    return {__shfl_xor_sync(kAllLanes, max, distance), __shfl_xor_sync(kAllLanes, min, distance),
            __shfl_xor_sync(kAllLanes, sum, distance), __shfl_xor_sync(kAllLanes, argmax, distance),
            __shfl_xor_sync(kAllLanes, argmin, distance)};
  }
};

template <bool kGeneral, Weighting W, int kM, int kN>
__device__ void find_ends(Ends (&ends)[kM][2], float (&s)[kM][kN][4], const ForwardRow<W>* rows,
                          float slope2, int key) {
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const ForwardRow<W>& row = rows[16 * m + 8 * half];
      const Visible visible = row.visible;
      scale_scores<kGeneral>(s[m], half, row.scale2, slope2, key - visible.last());
      Ends& end = ends[m][half];
      float top = end.max;
      float low = end.min;
      const auto seen = [&](int n, int i) { return !kGeneral || visible(key + 8 * n + i); };
#pragma unroll
      for (int n = 0; n < kN; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float x2 = s[m][n][2 * half + i];
          top = seen(n, i) ? fmaxf(top, x2) : top;
          low = seen(n, i) ? fminf(low, x2) : low;
        }
      }
      // A new end is rare after the first tiles; its first key is looked for only then.
      if (low < end.min) {
        end.min = low;
#pragma unroll
        for (int n = kN - 1; n >= 0; --n) {
#pragma unroll
          for (int i = 1; i >= 0; --i) {
            if (s[m][n][2 * half + i] == low && seen(n, i)) end.argmin = key + 8 * n + i;
          }
        }
      }
      if (top > end.max) {
        end.sum *= device::exp2_approx(end.max - top);
        end.max = top;
#pragma unroll
        for (int n = kN - 1; n >= 0; --n) {
#pragma unroll
          for (int i = 1; i >= 0; --i) {
            if (s[m][n][2 * half + i] == top && seen(n, i)) end.argmax = key + 8 * n + i;
          }
        }
      }
#pragma unroll
      for (int n = 0; n < kN; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float x2 = s[m][n][2 * half + i];
          const float term = W::term(x2 * kLn2, device::exp2_approx(x2 - top), 0.0F);
          end.sum += seen(n, i) ? term : 0.0F;
        }
      }
    }
  }
}

/// The weights of scores in known rows, likewise.
template <bool kGeneral, Weighting W, int kM, int kN, class Put>
__device__ void weigh(float (&s)[kM][kN][4], const ForwardRow<W>* rows, float slope2, int key,
                      const W& weighting, const Put& put) {
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const ForwardRow<W>& known = rows[16 * m + 8 * half];
      const Visible visible = known.visible;
      const RowOf<W, float> row = known.row;
      const float shift2 = known.shift2;
      scale_scores<kGeneral>(s[m], half, known.scale2, slope2, key - visible.last());
#pragma unroll
      for (int n = 0; n < kN; ++n) {
        float weights[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float x2 = s[m][n][2 * half + i];
          const float e = device::exp2_approx(cut_exponent2<W>(x2 - shift2));
          const float weight = weighting.weight(row, x2 * kLn2, e);
          weights[i] = !kGeneral || visible(key + 8 * n + i) ? weight : 0.0F;
        }
        put(m, n, half, weights[0], weights[1]);
      }
    }
  }
}

/// A thread's part of a forward pass: its rows, their scores, weights and output, whichever way the
/// tiles and their products come. A pass derives from it. Its Shape has
///   kD, kKeys   head size and keys of a tile
///   kM          rows of a warp, in sixteens
///   kQueries    of a block
template <MonoidWeighting W, class Shape>
class ForwardRows {
 public:
  static constexpr int kD = Shape::kD;
  static constexpr int kM = Shape::kM;
  static constexpr int kKeys = Shape::kKeys;
  using Arguments = ForwardArguments<W>;

 protected:
  static constexpr std::int64_t rows_bytes() {
    return Shape::kQueries * static_cast<std::int64_t>(sizeof(ForwardRow<W>)) +
           static_cast<std::int64_t>(sizeof(FirstKeys));
  }

  /// `memory`: rows_bytes() of shared memory. The warp's first row is `warp_row`.
  __device__ ForwardRows(const Arguments& arguments, void* memory, int warp_row)
      : a_(arguments),
        rows_(static_cast<ForwardRow<W>*>(memory)),
        first_keys_(*reinterpret_cast<FirstKeys*>(rows_ + Shape::kQueries)),
        tile_(a_.in, Shape::kQueries),
        warp_row_(warp_row) {}

  __device__ void prepare_row(int r) {
    const float c = tile_.row_scale(a_.in, r);
    const float scale2 = c * a_.in.tau * kLog2E;
    ForwardRow<W>& row = rows_[r];
    row.visible = tile_.visible(a_.in, r);
    row.scale2 = OnePassWeighting<W> ? fabsf(scale2) : scale2;
    if constexpr (W::kNeeds == RowNeeds::nothing) {
      row.row = a_.weighting.finish(RowStatistic<float>{}, head(), row.visible.count);
      row.shift2 = row.row.shift * kLog2E;
      save(row.row, r);
    }
  }
  /// One warp, when all rows are prepared.
  __device__ void find_first_keys() {
    first_keys_.template find<Shape::kQueries>(a_.in, tile_, rows_);
  }
  __device__ bool flips(int r) const { return tile_.row_scale(a_.in, r) < 0.0F; }
  /// Sixteen bytes of a query with the other sign. The sign of a row's scale goes into its queries,
  /// which is exact; its size stays with the scores.
  __device__ static void flip(uint4& words) {
    constexpr unsigned kSigns = 0x80008000U;
    words = make_uint4(words.x ^ kSigns, words.y ^ kSigns, words.z ^ kSigns, words.w ^ kSigns);
  }

  __device__ void begin() {
    clear(o_);
    if constexpr (OnePassWeighting<W>) {
      const float start = fmaxf(kMasked, W::template lowest_max<float>());
#pragma unroll
      for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          running_.max[m][half] = start;
          running_.sum[m][half] = 0.0F;
        }
      }
    }
  }

  /// Scores of the keys from `key` to weights, for `put` as in absorb.
  template <class Put>
  __device__ void weigh_tile(int key, const Put& put) {
    const int column = key + place_.column;
    const bool general = first_keys_.is_general(a_.in, tile_, key, kKeys);
    if constexpr (OnePassWeighting<W>) {
      if (general) {
        absorb<true>(s_, running_, thread_rows(), slope2(), column, a_.weighting, put);
      } else {
        absorb<false>(s_, running_, thread_rows(), 0.0F, column, a_.weighting, put);
      }
    } else {
      if (general) {
        weigh<true>(s_, thread_rows(), slope2(), column, a_.weighting, put);
      } else {
        weigh<false>(s_, thread_rows(), 0.0F, column, a_.weighting, put);
      }
    }
  }
  /// The output of the tiles before the last weighed one to its maximum.
  __device__ void rescale_output() {
    if constexpr (OnePassWeighting<W>) {
#pragma unroll
      for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int n = 0; n < kD / 8; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) o_[m][n][i] *= running_.rescale[m][i / 2];
        }
      }
    }
  }

  using ThreadEnds = Ends[kM][2];
  /// Scores of the keys from `key` to the ends of their rows.
  __device__ void find_tile_ends(ThreadEnds& ends, int key) {
    if (first_keys_.is_general(a_.in, tile_, key, kKeys)) {
      find_ends<true>(ends, s_, thread_rows(), slope2(), key + place_.column);
    } else {
      find_ends<false>(ends, s_, thread_rows(), 0.0F, key + place_.column);
    }
  }
  /// Rows with known ends; other threads of the warp have them after a barrier.
  __device__ void finish_rows(ThreadEnds& ends) {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        Ends& row = ends[m][half];
        row.merge(row.of_lane(1));
        row.merge(row.of_lane(2));
        if (place_.column == 0) finish_row(row, warp_row_ + place_.row + 16 * m + 8 * half);
      }
    }
  }

  /// The output through the warp's rows of a tile, which nobody else reads any more.
  __device__ void store(Tile<kD> through) {
    float factor[kM][2];
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) factor[m][half] = finish_output(m, half);
    }
    store_rows(a_.out.at(tile_.b, tile_.t + warp_row_, tile_.h), a_.out.time_stride,
               tile_.rows - warp_row_, a_.out.head_size, o_, through, warp_row_,
               [&](int m, int half) { return factor[m][half]; });
  }

  const Arguments& a_;
  const Place place_;
  ForwardRow<W>* const rows_;
  FirstKeys& first_keys_;
  const QueryTile tile_;
  const int warp_row_;
  Accumulators<kM, kKeys> s_;
  Accumulators<kM, kD> o_;

 private:
  __device__ const ForwardRow<W>* thread_rows() const { return rows_ + warp_row_ + place_.row; }
  // Read again where needed, so that it takes no register between the tiles.
  __device__ float slope2() const { return a_.in.slope(tile_.h) * kLog2E; }
  __device__ float head() const { return a_.in.head(tile_.h, a_.weighting); }

  /// What the output of a row is multiplied by; saves the row where its statistic was running.
  __device__ float finish_output(int m, int half) {
    if constexpr (OnePassWeighting<W>) {
      const int r = warp_row_ + place_.row + 16 * m + 8 * half;
      RowStatistic<float> statistic;
      const float scale = slope2() != 0.0F ? 1.0F : rows_[r].scale2;
      statistic.max = running_.max[m][half] * scale * kLn2;
      statistic.sum = quad_sum(running_.sum[m][half]);
      const auto row = a_.weighting.finish(statistic, head(), rows_[r].visible.count);
      if (place_.column == 0) save(row, r);
      return row.factor;
    }
    return 1.0F;
  }

  __device__ void finish_row(const Ends& end, int r) {
    ForwardRow<W>& row = rows_[r];
    if (row.visible.count == 0) return;
    RowStatistic<float> statistic;
    statistic.max = end.max * kLn2;
    statistic.min = end.min * kLn2;
    statistic.argmax = end.argmax - row.visible.first;
    statistic.argmin = end.argmin - row.visible.first;
    statistic.sum = end.sum;
    row.row = a_.weighting.finish(statistic, head(), row.visible.count);
    row.shift2 = end.max;
    save(row.row, r);
  }

  __device__ void save(const RowOf<W, float>& row, int r) const {
    if (a_.saved != nullptr && r < tile_.rows) {
      a_.weighting.save(row, a_.saved + (a_.in.row(tile_.b, tile_.h, tile_.t) + r) * W::kRowValues);
    }
  }

  RunningRows<kM> running_;
};

}  // namespace ssmax::kernels::cuda
