#pragma once

#include "kernels/attention/backward_row_cuda.cuh"
#include "kernels/attention/pass_cuda.cuh"

/// The first pass of the fused backward in two passes: queries stationary.
namespace ssmax::kernels::cuda {

template <int kHeadSize, int kKeyTile>
struct QueryPassShape {
  static constexpr int kD = kHeadSize;
  static constexpr int kM = 2;
  static constexpr int kWarps = 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kQueries = 16 * kM * kWarps;
  static constexpr int kKeys = kKeyTile;
};

/// The widest tiles that spill no registers.
template <Weighting W, int kHeadSize>
using QueryPassShapeOf =
    QueryPassShape<kHeadSize, ExponentialWeighting<W> && kHeadSize == 64 ? 64 : 32>;

/// Sums over a thread's columns of one row, in fp32 before anything is rounded.
struct RowSums {
  float lacking =
      0;             // what the estimate of D lacks: pull (aim - D) of probabilities; else weight g
  float dc = 0;      // dx s, or its part at a fixed beta
  float pull_s = 0;  // pull s
  // Of keys between the row's ends, where these are fixed:
  float between = 0;  // pull aim
  float shared = 0;   // pull g

  __device__ void add_over_quad() {
    for (float* sum : {&lacking, &dc, &pull_s, &between, &shared}) *sum = quad_sum(*sum);
  }
};

/// Whether dc is that of a fixed beta: without a bias the terms with 1 / spread cancel in it.
template <Weighting W>
__device__ bool fixes_beta(float slope2) {
  return ScaleFreeWeighting<W> && slope2 == 0.0F;
}

/// dx of scores s and gradients g of the weights. At the ends of a row a weight does not depend on
/// the score, so that nothing rises there: the rest has no bound, and would only cancel when the
/// ends get what they are due.
template <bool kGeneral, Weighting W, int kM, int kN>
__device__ void differentiate(std::uint32_t (&dx)[kM][kN][2], const float (&g)[kM][kN][4],
                              RowSums (&sums)[kM][2], const float (&s)[kM][kN][4],
                              const BackwardRow<W>* rows, float slope2, int key,
                              const W& weighting) {
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const BackwardRow<W>& known = rows[16 * m + 8 * half];
      const Visible visible = known.visible;
      const RowOf<W, float> row = weighting.load(known.values, visible.count);
      const float scale2 = known.scale2;
      const float shift2 = known.shift2;
      const float d = known.d;
      const int distance = key - visible.last();
      int argmin = -1;
      int argmax = -1;
      if constexpr (W::kFixesExtremes) {
        argmin = known.ends.argmin;
        argmax = known.ends.argmax;
      }
      RowSums& sum = sums[m][half];
#pragma unroll
      for (int n = 0; n < kN; ++n) {
        float pair[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float score = s[m][n][2 * half + i];
          const float gradient = g[m][n][2 * half + i];
          float x2 = score * scale2;
          bool seen = true;
          if constexpr (kGeneral) {
            x2 += slope2 * static_cast<float>(distance + 8 * n + i);
            seen = visible(key + 8 * n + i);
          }
          const KeyTerms<W> terms(row, x2, shift2, seen);
          if constexpr (SharingWeighting<W>) {
            const float pull = terms.pull();
            const float lead = terms.aim(gradient) - d;
            const float at_fixed_beta = pull * lead;
            pair[i] = at_fixed_beta;
            sum.lacking += ProbabilityWeighting<W> ? at_fixed_beta : terms.weight() * gradient;
            sum.pull_s += pull * score;
            if constexpr (RisingWeighting<W>) {
              float between = pull;
              if constexpr (W::kFixesExtremes) {
                const int at = key + 8 * n + i;
                between = at == argmin || at == argmax ? 0.0F : pull;
                sum.between += between * terms.aim(gradient);
                sum.shared += between * gradient;
              }
              pair[i] += W::rise(row) * gradient * between;
            }
            sum.dc += (fixes_beta<W>(slope2) ? at_fixed_beta : pair[i]) * score;
          } else {
            pair[i] = terms.slope() * gradient;
            sum.dc += pair[i] * score;
          }
        }
        dx[m][n][half] = device::pack_bf16(pair[0], pair[1]);
      }
    }
  }
}

template <MonoidWeighting W, class Shape>
class QueryPass {
 public:
  static constexpr int kD = Shape::kD;
  static constexpr int kM = Shape::kM;
  static constexpr int kKeys = Shape::kKeys;
  static constexpr int kUnroll = ExponentialWeighting<W> || kD == 64 ? kD / 16 : 1;
  static constexpr int kThreads = Shape::kThreads;
  static constexpr int kLeastBlocks = 0;
  using Arguments = BackwardArguments<W>;

  static constexpr std::int64_t shared_bytes() {
    return (2 * Shape::kQueries + 4 * kKeys) * kD * static_cast<std::int64_t>(sizeof(Bf16)) +
           Shape::kQueries * static_cast<std::int64_t>(sizeof(BackwardRow<W>)) +
           static_cast<std::int64_t>(sizeof(FirstKeys));
  }

  __device__ explicit QueryPass(const Arguments& arguments)
      : a_(arguments),
        q_{device::dynamic_shared<Bf16>()},
        dout_{q_.data + Shape::kQueries * kD},
        keys_{dout_.data + Shape::kQueries * kD},
        rows_(reinterpret_cast<BackwardRow<W>*>(keys_.data + 4 * kKeys * kD)),
        first_keys_(*reinterpret_cast<FirstKeys*>(rows_ + Shape::kQueries)),
        tile_(a_.in, Shape::kQueries),
        warp_row_(device::warp_id() * 16 * kM) {}

  __device__ void run() {
    using Queries = TileSource<Shape::kQueries, Shape::kThreads, kD>;
    const int end_query = tile_.t + tile_.rows;
    Queries(a_.in.q, tile_.b, tile_.h, end_query).load(q_, tile_.t);
    Queries(a_.dout, tile_.b, tile_.h, end_query).load(dout_, tile_.t);
    device::copy_async_commit();
    prepare_rows();
    device::copy_async_wait<0>();
    __syncthreads();
    if (device::warp_id() == 0) {
      first_keys_.template find<Shape::kQueries>(a_.in, tile_, rows_);
    }
    estimate_d();
    const int end = tile_.end_key(a_.in);
    const Source sources[2] = {{a_.in.k, tile_.b, tile_.group(a_.in), end},
                               {a_.in.v, tile_.b, tile_.group(a_.in), end}};
    const BackwardRow<W>* rows = rows_ + warp_row_ + place_.row;
    clear(dq_);
    int key = first_keys_.least;
    load(sources, 0, key);
    for (int stage = 0; key < end; key += kKeys, stage ^= 1) {
      device::copy_async_wait<0>();
      __syncthreads();  // this tile is there; nobody reads the one before
      if (key + kKeys < end) load(sources, stage ^ 1, key + kKeys);
      const int last = (device::uniform_warp_id() + 1) * 16 * kM - 1;
      if (!tile_.sees(a_.in, last, key)) continue;  // all of the warp
      const Tile<kD> keys = stage_tile(stage, 0);
      multiply_rows<kUnroll>(s_, Rows{q_, warp_row_}, keys);
      multiply_rows<kUnroll>(g_, Rows{dout_, warp_row_}, stage_tile(stage, 1));
      if (first_keys_.is_general(a_.in, tile_, key, kKeys)) {
        const float slope2 = a_.in.slope(tile_.h) * kLog2E;
        differentiate<true>(dx_, g_, sums_, s_, rows, slope2, key + place_.column, a_.weighting);
      } else {
        differentiate<false>(dx_, g_, sums_, s_, rows, 0.0F, key + place_.column, a_.weighting);
      }
      multiply_add_tile(dq_, dx_, keys);
    }
    finish();
  }

 private:
  __device__ Tile<kD> stage_tile(int stage, int which) const {
    return {keys_.data + (2 * stage + which) * kKeys * kD};
  }
  using Source = TileSource<kKeys, Shape::kThreads, kD>;
  using Rows = SharedRows<kM, kD>;

  __device__ void load(const Source (&sources)[2], int stage, int key) {
    for (int i = 0; i < 2; ++i) sources[i].load(stage_tile(stage, i), key);
    device::copy_async_commit();
  }

  /// Thread r prepares row r.
  __device__ void prepare_rows() {
    const int r = static_cast<int>(threadIdx.x);
    if (r >= Shape::kQueries) return;
    const Visible visible = tile_.visible(a_.in, r);
    rows_[r] =
        r < tile_.rows ? a_.known_row(tile_.b, tile_.h, tile_.t + r, visible) : BackwardRow<W>{};
  }

  /// D of the stored O is good enough for dx; what it lacks comes out of the pass.
  __device__ void estimate_d() {
    constexpr int kLanes = kD / 8;
    const int chunk = static_cast<int>(threadIdx.x) % kLanes;
#pragma unroll 1
    for (int r = static_cast<int>(threadIdx.x) / kLanes; r < Shape::kQueries;
         r += kThreads / kLanes) {
      const float d = stored_d<kLanes>(a_, rows_[r], tile_.b, tile_.h, tile_.t + r, 8 * chunk,
                                       q_.chunk(r, chunk), dout_.chunk(r, chunk));
      if (chunk == 0) rows_[r].d = d;
    }
    __syncthreads();
  }

  __device__ void finish() {
    float scales[kM][2];
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int r = warp_row_ + place_.row + 16 * m + 8 * half;
        BackwardRow<W> row = rows_[r];
        RowSums& sums = sums_[m][half];
        sums.add_over_quad();
        // dx was linear in D: what the estimate lacked is put right in the sums.
        float outside = 1.0F;
        if constexpr (ProbabilityWeighting<W>) {
          const auto known = a_.weighting.load(row.values, row.visible.count);
          outside = W::outside(known, a_.in.head(tile_.h, a_.weighting));
        }
        const bool alone = row.visible.count == 1;  // D is exact
        const float lacking = alone ? 0.0F : sums.lacking - outside * row.d;
        row.d += lacking;
        float dc = (sums.dc - lacking * sums.pull_s) * a_.in.tau;
        if constexpr (W::kFixesExtremes) {
          const auto known = a_.weighting.load(row.values, row.visible.count);
          const auto extra = a_.weighting.fix_up(known, sums.between, W::rise(known) * sums.shared);
          row.ends.at_min = extra.at_min * row.coefficient;
          row.ends.at_max = extra.at_max * row.coefficient;
          const float of_min = add_end(m, half, r, row.ends.argmin, extra.at_min);
          const float of_max = add_end(m, half, r, row.ends.argmax, extra.at_max);
          if (!fixes_beta<W>(a_.in.slope(tile_.h))) dc += of_min + of_max;
        }
        scales[m][half] = row.coefficient;
        if (place_.column == 0 && r < tile_.rows) {
          const std::int64_t index = a_.in.row(tile_.b, tile_.h, tile_.t) + r;
          a_.drow_scale[index] = dc;
          a_.rows[index] = row;
        }
      }
    }
    store_rows(a_.dq.at(tile_.b, tile_.t + warp_row_, tile_.h), a_.dq.time_stride,
               tile_.rows - warp_row_, a_.dq.head_size, dq_, dout_, warp_row_,
               [&](int m, int half) { return scales[m][half]; });
  }

  /// Adds gradient times the key to a row of dq, and returns its part of dc. All lanes call it.
  __device__ float add_end(int m, int half, int r, int key, float gradient) {
    float dot = 0.0F;
    if (key >= 0) {
      const Bf16* k = a_.in.k.at(tile_.b, key, tile_.group(a_.in));
#pragma unroll
      for (int n = 0; n < kD / 8; ++n) {
        const int column = 8 * n + place_.column;
        if (column >= a_.in.k.head_size) break;
        const auto pair = *reinterpret_cast<const std::uint32_t*>(k + column);
        const auto query = *reinterpret_cast<const std::uint32_t*>(q_.chunk(r, n) + place_.column);
        const float low = device::low_half(pair);
        const float high = device::high_half(pair);
        dot += low * device::low_half(query) + high * device::high_half(query);
        dq_[m][n][2 * half] += gradient * low;
        dq_[m][n][2 * half + 1] += gradient * high;
      }
    }
    return gradient * a_.in.tau * quad_sum(dot);
  }

  const Arguments& a_;
  const Place place_;
  const Tile<kD> q_;
  const Tile<kD> dout_;
  const Tile<kD> keys_;  // two stages of keys and values
  BackwardRow<W>* const rows_;
  FirstKeys& first_keys_;
  const QueryTile tile_;
  const int warp_row_;
  RowSums sums_[kM][2];
  Accumulators<kM, kKeys> s_;
  Accumulators<kM, kKeys> g_;
  LeftOperands<kM, kKeys> dx_;
  Accumulators<kM, kD> dq_;
};

template <int kHeadSize, MonoidWeighting W>
void run_query_pass(Stream& stream, const BackwardArguments<W>& arguments, std::int64_t batch) {
  using Shape = QueryPassShapeOf<W, kHeadSize>;
  launch_pass<QueryPass<W, Shape>>(
      stream,
      tile_grid(arguments.in.heads, batch, base::div_up(arguments.in.time, Shape::kQueries)),
      arguments);
}

}  // namespace ssmax::kernels::cuda
