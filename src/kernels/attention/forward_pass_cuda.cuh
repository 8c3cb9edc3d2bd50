#pragma once

#include "kernels/attention/pass_cuda.cuh"
#include "kernels/attention/query_tile_cuda.cuh"

/// The fused forward: a block owns 128 queries of one head and passes over the keys that they can
/// see. Keys and values of a tile are each loaded while the matrix units work on the other.
namespace ssmax::kernels::cuda {

template <int kHeadSize, int kKeyTile>
struct ForwardShape {
  static constexpr int kD = kHeadSize;
  static constexpr int kM = 2;
  static constexpr int kWarps = 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kQueries = 16 * kM * kWarps;
  static constexpr int kKeys = kKeyTile;
  static constexpr int kUnroll = kHeadSize * kKeyTile > 64 * 64 ? 1 : kHeadSize / 16;
};

/// The widest tiles that spill no registers.
template <Weighting W, int kHeadSize>
using ForwardShapeOf = ForwardShape<kHeadSize, ExponentialWeighting<W> ? 64 : 32>;

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
};

/// The weights of scores under the running maximum; what was summed before is brought to it.
template <bool kGeneral, OnePassWeighting W, int kM, int kN, int kOut>
__device__ void absorb(std::uint32_t (&p)[kM][kN][2], float (&s)[kM][kN][4],
                       float (&o)[kM][kOut][4], RunningRows<kM>& running, const ForwardRow<W>* rows,
                       float slope2, int key, const W& weighting) {
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
          float term = W::term(e, origin);
          float weight = weighting.weight(provisional, score * natural, e);
          if constexpr (kGeneral) {
            const bool seen = visible(key + 8 * n + i);
            term = seen ? term : 0.0F;
            weight = seen ? weight : 0.0F;
          }
          sum += term;
          weights[i] = weight;
        }
        p[m][n][half] = device::pack_bf16(weights[0], weights[1]);
      }
      running.sum[m][half] = running.sum[m][half] * rescale + sum;
#pragma unroll
      for (int n = 0; n < kOut; ++n) {
        o[m][n][2 * half] *= rescale;
        o[m][n][2 * half + 1] *= rescale;
      }
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
          const float e = device::exp2_approx(s[m][n][2 * half + i] - top);
          end.sum += seen(n, i) ? W::term(e, 0.0F) : 0.0F;
        }
      }
    }
  }
}

/// The weights of scores in known rows.
template <bool kGeneral, Weighting W, int kM, int kN>
__device__ void weigh(std::uint32_t (&p)[kM][kN][2], float (&s)[kM][kN][4],
                      const ForwardRow<W>* rows, float slope2, int key, const W& weighting) {
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
        p[m][n][half] = device::pack_bf16(weights[0], weights[1]);
      }
    }
  }
}

template <MonoidWeighting W, class Shape>
class ForwardPass {
 public:
  static constexpr int kD = Shape::kD;
  static constexpr int kM = Shape::kM;
  static constexpr int kKeys = Shape::kKeys;
  static constexpr int kThreads = Shape::kThreads;
  using Arguments = ForwardArguments<W>;

  static constexpr std::int64_t shared_bytes() {
    return (Shape::kQueries + 2 * kKeys) * kD * static_cast<std::int64_t>(sizeof(Bf16)) +
           Shape::kQueries * static_cast<std::int64_t>(sizeof(ForwardRow<W>)) +
           static_cast<std::int64_t>(sizeof(FirstKeys));
  }

  __device__ explicit ForwardPass(const Arguments& arguments)
      : a_(arguments),
        q_{device::dynamic_shared<Bf16>()},
        keys_{q_.data + Shape::kQueries * kD},
        values_{keys_.data + kKeys * kD},
        rows_(reinterpret_cast<ForwardRow<W>*>(values_.data + kKeys * kD)),
        first_keys_(*reinterpret_cast<FirstKeys*>(rows_ + Shape::kQueries)),
        tile_(a_.in, Shape::kQueries),
        warp_row_(device::warp_id() * 16 * kM) {}

  __device__ void run() {
    prepare_rows();
    __syncthreads();
    if (device::warp_id() == 0) {
      first_keys_.template find<Shape::kQueries>(a_.in, tile_, rows_);
    }
    using Queries = TileSource<Shape::kQueries, Shape::kThreads, kD>;
    Queries(a_.in.q, tile_.b, tile_.h, tile_.t + tile_.rows).load(q_, tile_.t);
    device::copy_async_commit();
    __syncthreads();
    if constexpr (OnePassWeighting<W>) {
      flip_queries();
      run_one_pass();
    } else {
      run_known_rows();
    }
  }

 private:
  /// Thread r prepares row r.
  __device__ void prepare_rows() {
    const int r = static_cast<int>(threadIdx.x);
    if (r >= Shape::kQueries) return;
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

  /// The sign of a row's scale goes into its queries, which is exact; its size stays with the
  /// scores.
  __device__ void flip_queries() {
    device::copy_async_wait<0>();
    __syncthreads();
    const int r = static_cast<int>(threadIdx.x);
    if (r < Shape::kQueries && tile_.row_scale(a_.in, r) < 0.0F) {
      for (int c = 0; c < kD / 8; ++c) {
        uint4& words = *reinterpret_cast<uint4*>(q_.chunk(r, c));
        constexpr unsigned kSigns = 0x80008000U;
        words = make_uint4(words.x ^ kSigns, words.y ^ kSigns, words.z ^ kSigns, words.w ^ kSigns);
      }
    }
    __syncwarp();  // a warp's threads have flipped its own rows
  }

  using Source = TileSource<kKeys, Shape::kThreads, kD>;
  using SharedQueries = SharedRows<kM, kD>;
  using QueryRows =
      std::conditional_t<kD == 64 && OnePassWeighting<W>, HeldRows<kM, kD>, SharedQueries>;

  __device__ SharedQueries shared_queries() const { return {q_, warp_row_}; }

  __device__ Source source(const Heads<const Bf16>& heads) const {
    return {heads, tile_.b, tile_.group(a_.in), tile_.end_key(a_.in)};
  }
  __device__ static void load(Tile<kD> to, const Source& from, int key) {
    from.load(to, key);
    device::copy_async_commit();
  }

  /// For every tile of keys: scores, then `weigh(general, key)`, then its part of the output.
  template <class Weigh>
  __device__ void for_each_tile(const Weigh& weigh_tile) {
    const int end = tile_.end_key(a_.in);
    const Source keys = source(a_.in.k);
    const Source values = source(a_.in.v);
    const QueryRows queries(shared_queries());
    const int last = device::uniform_warp_id() * 16 * kM + 16 * kM - 1;
    clear(o_);
    int key = first_keys_.least;
    load(keys_, keys, key);
    for (; key < end; key += kKeys) {
      device::copy_async_wait<0>();
      __syncthreads();  // keys are there; nobody reads the values of the tile before
      load(values_, values, key);
      multiply_rows<Shape::kUnroll>(s_, queries, keys_);
      device::copy_async_wait<0>();
      __syncthreads();  // values are there; nobody reads these keys any more
      if (key + kKeys < end) load(keys_, keys, key + kKeys);
      if (!tile_.sees(a_.in, last, key)) continue;  // all of the warp
      weigh_tile(first_keys_.is_general(a_.in, tile_, key, kKeys), key + place_.column);
      multiply_add_tile(o_, p_, values_);
    }
  }

  __device__ void run_one_pass() {
    RunningRows<kM> running;
    const float start = fmaxf(kMasked, W::template lowest_max<float>());
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        running.max[m][half] = start;
        running.sum[m][half] = 0.0F;
      }
    }
    const ForwardRow<W>* rows = rows_ + warp_row_ + place_.row;
    for_each_tile([&](bool general, int key) {
      if (general) {
        absorb<true>(p_, s_, o_, running, rows, slope2(), key, a_.weighting);
      } else {
        absorb<false>(p_, s_, o_, running, rows, 0.0F, key, a_.weighting);
      }
    });
    float factor[kM][2];
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int r = warp_row_ + place_.row + 16 * m + 8 * half;
        RowStatistic<float> statistic;
        const float scale = slope2() != 0.0F ? 1.0F : rows_[r].scale2;
        statistic.max = running.max[m][half] * scale * kLn2;
        statistic.sum = quad_sum(running.sum[m][half]);
        const auto row = a_.weighting.finish(statistic, head(), rows_[r].visible.count);
        factor[m][half] = row.factor;
        if (place_.column == 0) save(row, r);
      }
    }
    store([&](int m, int half) { return factor[m][half]; });
  }

  __device__ void run_known_rows() {
    if constexpr (W::kNeeds != RowNeeds::nothing) find_rows();
    const ForwardRow<W>* rows = rows_ + warp_row_ + place_.row;
    for_each_tile([&](bool general, int key) {
      if (general) {
        weigh<true>(p_, s_, rows, slope2(), key, a_.weighting);
      } else {
        weigh<false>(p_, s_, rows, 0.0F, key, a_.weighting);
      }
    });
    store([](int, int) { return 1.0F; });
  }

  /// A pass over the keys alone, their tiles by turns in the two buffers.
  __device__ void find_rows() {
    Ends ends[kM][2];
    const ForwardRow<W>* rows = rows_ + warp_row_ + place_.row;
    const int end = tile_.end_key(a_.in);
    const Source keys = source(a_.in.k);
    int key = first_keys_.least;
    load(keys_, keys, key);
    Tile<kD> now = keys_;
    Tile<kD> next = values_;
    for (; key < end; key += kKeys) {
      device::copy_async_wait<0>();
      __syncthreads();
      if (key + kKeys < end) load(next, keys, key + kKeys);
      multiply_rows<Shape::kUnroll>(s_, shared_queries(), now);
      if (first_keys_.is_general(a_.in, tile_, key, kKeys)) {
        find_ends<true>(ends, s_, rows, slope2(), key + place_.column);
      } else {
        find_ends<false>(ends, s_, rows, 0.0F, key + place_.column);
      }
      const Tile<kD> used = now;
      now = next;
      next = used;
    }
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
    __syncthreads();  // rows are written; nobody reads the keys any more
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

  // Read again where needed, so that it takes no register between the tiles.
  __device__ float slope2() const { return a_.in.slope(tile_.h) * kLog2E; }
  __device__ float head() const { return a_.in.head(tile_.h, a_.weighting); }

  __device__ void save(const RowOf<W, float>& row, int r) const {
    if (a_.saved != nullptr && r < tile_.rows) {
      a_.weighting.save(row, a_.saved + (a_.in.row(tile_.b, tile_.h, tile_.t) + r) * W::kRowValues);
    }
  }

  template <class Scale>
  __device__ void store(const Scale& scale) {
    store_rows(a_.out.at(tile_.b, tile_.t + warp_row_, tile_.h), a_.out.time_stride,
               tile_.rows - warp_row_, a_.out.head_size, o_, q_, warp_row_, scale);
  }

  const Arguments& a_;
  const Place place_;
  const Tile<kD> q_;
  const Tile<kD> keys_;
  const Tile<kD> values_;
  ForwardRow<W>* const rows_;
  FirstKeys& first_keys_;
  const QueryTile tile_;
  const int warp_row_;
  Accumulators<kM, kKeys> s_;
  LeftOperands<kM, kKeys> p_;
  Accumulators<kM, kD> o_;
};

template <int kHeadSize, MonoidWeighting W>
void run_forward_pass(Stream& stream, const ForwardArguments<W>& arguments, std::int64_t batch) {
  using Shape = ForwardShapeOf<W, kHeadSize>;
  launch_pass<ForwardPass<W, Shape>>(
      stream,
      tile_grid(arguments.in.heads, batch, base::div_up(arguments.in.time, Shape::kQueries)),
      arguments);
}

}  // namespace ssmax::kernels::cuda
