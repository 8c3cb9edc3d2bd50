#pragma once

#include "device/kernel_launch.cuh"
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

/// A row as both passes see it.
template <Weighting W>
struct alignas(16) BackwardRow {
  Visible visible;
  float scale2;       // scores times this are exponents of 2
  float shift2;       // e = 2^(x2 - shift2)
  float coefficient;  // c tau: scores' gradients from those of x
  float d;            // D
  float values[W::kRowValues];
  [[no_unique_address]] std::conditional_t<W::kFixesExtremes, EndGradients, NoEndGradients> ends;
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

// --- Queries stationary ---------------------------------------------------------------------

template <int kHeadSize>
struct QueryPassShape {
  static constexpr int kD = kHeadSize;
  static constexpr int kM = 2;
  static constexpr int kWarps = 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kQueries = 16 * kM * kWarps;
  static constexpr int kKeys = kHeadSize == 64 ? 64 : 32;
};

template <Weighting W, class Shape>
constexpr std::int64_t query_pass_shared_bytes() {
  return (2 * Shape::kQueries + 4 * Shape::kKeys) * Shape::kD *
             static_cast<std::int64_t>(sizeof(Bf16)) +
         Shape::kQueries * static_cast<std::int64_t>(sizeof(BackwardRow<W>)) +
         static_cast<std::int64_t>(sizeof(QueryTile));
}

/// Sums over a thread's columns of one row, in fp32 before anything is rounded.
struct RowSums {
  float d = 0;       // weight g: D, which dO.O gives only as exactly as O is stored
  float dc = 0;      // dx s
  float pull_s = 0;  // pull s
  float dx = 0;
  float pull = 0;

  __device__ void add_over_quad() {
    for (float* sum : {&d, &dc, &pull_s, &dx, &pull}) *sum = quad_sum(*sum);
  }
};

/// g becomes dx.
template <bool kGeneral, Weighting W, int kM, int kN>
__device__ void differentiate(float (&g)[kM][kN][4], RowSums (&sums)[kM][2],
                              const float (&s)[kM][kN][4], const BackwardRow<W>* rows, float slope2,
                              int key, const W& weighting) {
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
      RowSums& sum = sums[m][half];
#pragma unroll
      for (int n = 0; n < kN; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float score = s[m][n][2 * half + i];
          float& gradient = g[m][n][2 * half + i];
          float x2 = score * scale2;
          bool seen = true;
          if constexpr (kGeneral) {
            x2 += slope2 * static_cast<float>(distance + 8 * n + i);
            seen = visible(key + 8 * n + i);
          }
          const KeyTerms<W> terms(row, x2, shift2, seen);
          sum.d += terms.weight * gradient;
          const float dx = terms.slope * gradient - terms.pull * d;
          sum.dc += dx * score;
          sum.pull_s += terms.pull * score;
          if constexpr (W::kFixesExtremes) {
            sum.dx += dx;
            sum.pull += terms.pull;
          }
          gradient = dx;
        }
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

  __device__ explicit QueryPass(const BackwardArguments<W>& arguments)
      : a_(arguments),
        q_{device::dynamic_shared<Bf16>()},
        dout_{q_.data + Shape::kQueries * kD},
        keys_{dout_.data + Shape::kQueries * kD},
        rows_(reinterpret_cast<BackwardRow<W>*>(keys_.data + 4 * kKeys * kD)),
        tile_(*reinterpret_cast<QueryTile*>(rows_ + Shape::kQueries)),
        warp_row_(device::warp_id() * 16 * kM) {}

  __device__ void run() {
    if (threadIdx.x == 0) tile_.set(a_.in, Shape::kQueries);
    __syncthreads();
    load_tile<Shape::kQueries, Shape::kThreads>(q_, a_.in.q.at(tile_.b, tile_.t, tile_.h),
                                                a_.in.q.time_stride, tile_.rows, a_.in.q.head_size);
    load_tile<Shape::kQueries, Shape::kThreads>(dout_, a_.dout.at(tile_.b, tile_.t, tile_.h),
                                                a_.dout.time_stride, tile_.rows, a_.dout.head_size);
    device::copy_async_commit();
    prepare_rows();
    device::copy_async_wait<0>();
    __syncthreads();
    if (device::warp_id() == 0) tile_.template find_keys<Shape::kQueries>(a_.in, rows_);
    estimate_d();
    const KeyRange& range = tile_.range;
    const float slope2 = a_.in.slope(tile_.h) * kLog2E;
    const BackwardRow<W>* rows = rows_ + warp_row_ + place_.row;
    clear(dq_);
    load(0, range.begin, range.end);
    int stage = 0;
    for (int key = range.begin; key < range.end; key += kKeys, stage ^= 1) {
      device::copy_async_wait<0>();
      __syncthreads();  // this tile is there; nobody reads the one before
      if (key + kKeys < range.end) load(stage ^ 1, key + kKeys, range.end);
      const Tile<kD> keys = stage_tile(stage, 0);
      multiply_rows(s_, q_, warp_row_, keys);
      multiply_rows(g_, dout_, warp_row_, stage_tile(stage, 1));
      if (range.is_general(key, kKeys)) {
        differentiate<true>(g_, sums_, s_, rows, slope2, key + place_.column, a_.weighting);
      } else {
        differentiate<false>(g_, sums_, s_, rows, slope2, key + place_.column, a_.weighting);
      }
      multiply_add_tile(dq_, g_, keys);
    }
    finish();
  }

 private:
  __device__ Tile<kD> stage_tile(int stage, int which) const {
    return {keys_.data + (2 * stage + which) * kKeys * kD};
  }
  __device__ void load(int stage, int key, int end) {
    load_tile<kKeys, Shape::kThreads>(stage_tile(stage, 0), a_.in.k.at(tile_.b, key, tile_.group),
                                      a_.in.k.time_stride, end - key, a_.in.k.head_size);
    load_tile<kKeys, Shape::kThreads>(stage_tile(stage, 1), a_.in.v.at(tile_.b, key, tile_.group),
                                      a_.in.v.time_stride, end - key, a_.in.v.head_size);
    device::copy_async_commit();
  }

  /// Thread r prepares row r.
  __device__ void prepare_rows() {
    const int r = static_cast<int>(threadIdx.x);
    if (r >= Shape::kQueries) return;
    BackwardRow<W> row{};
    row.visible = tile_.visible(a_.in, r);
    row.coefficient = tile_.row_scale(a_.in, r) * a_.in.tau;
    row.scale2 = row.coefficient * kLog2E;
    if (r < tile_.rows) {
      const float* values = a_.saved + (a_.in.row(tile_.b, tile_.h, tile_.t) + r) * W::kRowValues;
      for (int i = 0; i < W::kRowValues; ++i) row.values[i] = values[i];
      row.shift2 = a_.weighting.load(row.values, row.visible.count).shift * kLog2E;
    }
    rows_[r] = row;
  }

  /// D = dO.O of the stored O, good enough for dx; the exact one comes out of the pass.
  __device__ void estimate_d() {
    const int r = static_cast<int>(threadIdx.x);
    if (r < tile_.rows) {
      const Bf16* out = a_.out.at(tile_.b, tile_.t + r, tile_.h);
      float d = 0.0F;
      for (int c = 0; c < kD / 8 && c * 8 < a_.out.head_size; ++c) {
        const auto left = device::load_pack(out + 8 * c);
        const auto right = device::load_pack(dout_.chunk(r, c));
#pragma unroll
        for (int i = 0; i < 8; ++i) d += left[i] * right[i];
      }
      rows_[r].d = d;
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
        const float lacking = sums.d - row.d;
        row.d = sums.d;
        float dc = (sums.dc - lacking * sums.pull_s) * a_.in.tau;
        if constexpr (W::kFixesExtremes) {
          const auto known = a_.weighting.load(row.values, row.visible.count);
          const auto extra = a_.weighting.fix_up(known, row.d, sums.dx - lacking * sums.pull);
          row.ends = {extra.at_min * row.coefficient, extra.at_max * row.coefficient,
                      end_key(row, known.argmin), end_key(row, known.argmax)};
          dc += add_end(m, half, r, row.ends.argmin, extra.at_min);
          dc += add_end(m, half, r, row.ends.argmax, extra.at_max);
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

  /// -1 where the end is a constant, and in a row of NaN.
  __device__ static int end_key(const BackwardRow<W>& row, std::int64_t index) {
    const bool found = index >= 0 && index < row.visible.count;
    return found ? row.visible.first + static_cast<int>(index) : -1;
  }

  /// Adds gradient times the key to a row of dq, and returns its part of dc. All lanes call it.
  __device__ float add_end(int m, int half, int r, int key, float gradient) {
    float dot = 0.0F;
    if (key >= 0) {
      const Bf16* k = a_.in.k.at(tile_.b, key, tile_.group);
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

  const BackwardArguments<W>& a_;
  const Place place_;
  const Tile<kD> q_;
  const Tile<kD> dout_;
  const Tile<kD> keys_;  // two stages of keys and values
  BackwardRow<W>* const rows_;
  QueryTile& tile_;
  const int warp_row_;
  RowSums sums_[kM][2];
  Accumulators<kM, kKeys> s_;
  Accumulators<kM, kKeys> g_;
  Accumulators<kM, kD> dq_;
};

template <MonoidWeighting W, class Shape>
__global__ void __launch_bounds__(Shape::kThreads)
    query_pass_kernel(const __grid_constant__ BackwardArguments<W> arguments) {
  QueryPass<W, Shape>(arguments).run();
}

// --- Keys stationary --------------------------------------------------------------------------

template <int kHeadSize>
struct KeyPassShape {
  static constexpr int kD = kHeadSize;
  static constexpr int kM = kHeadSize == 64 ? 2 : 1;
  static constexpr int kWarps = kHeadSize == 64 ? 4 : 8;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kKeys = 16 * kM * kWarps;
  static constexpr int kQueries = kHeadSize == 64 ? 32 : 64;
};

/// Keys [key, key + keys) of a key/value head of sequence b, and the queries that see any of them:
/// `tiles` tiles from `begin` in each head of the group. In shared memory as QueryTile is.
struct KeyTile {
  int b;
  int group;
  int key;
  int keys;
  int used;  ///< of the keys; those after the last position may never have been written
  int begin;
  int tiles;
  int steps;  ///< tiles of all heads

  template <class T>
  __device__ void set(const DeviceInputs<T>& in, int most_keys) {
    const int groups = in.heads / in.heads_per_group;
    b = static_cast<int>(blockIdx.x) / groups;
    group = static_cast<int>(blockIdx.x) % groups;
    key = static_cast<int>(blockIdx.y) * most_keys;
    keys = smaller(most_keys, in.keys - key);
    used = smaller(keys, in.first_position + in.time - key);
  }
  /// Queries below `end` may see keys.
  template <class T>
  __device__ void set_queries(const DeviceInputs<T>& in, int end, int queries) {
    begin = larger(0, key - in.first_position) / queries * queries;
    tiles = end > begin ? (end - begin + queries - 1) / queries : 0;
    steps = tiles * in.heads_per_group;
  }
};

template <Weighting W, class Shape>
constexpr std::int64_t key_pass_shared_bytes() {
  return (2 * Shape::kKeys + 4 * Shape::kQueries) * Shape::kD *
             static_cast<std::int64_t>(sizeof(Bf16)) +
         2 * Shape::kQueries * static_cast<std::int64_t>(sizeof(BackwardRow<W>)) +
         static_cast<std::int64_t>(sizeof(KeyTile));
}

/// s becomes the weights and g the gradients of the scores; both transposed: rows are keys and
/// columns queries.
template <bool kGeneral, Weighting W, int kM, int kN>
__device__ void differentiate_columns(float (&s)[kM][kN][4], float (&g)[kM][kN][4],
                                      const BackwardRow<W>* rows, float slope2, int key,
                                      const W& weighting) {
#pragma unroll
  for (int n = 0; n < kN; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const BackwardRow<W>& known = rows[8 * n + i];
      const Visible visible = known.visible;
      const RowOf<W, float> row = weighting.load(known.values, visible.count);
      const float scale2 = known.scale2;
      const float shift2 = known.shift2;
      const float coefficient = known.coefficient;
      const float d = known.d;
#pragma unroll
      for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int at = key + 16 * m + 8 * half;
          float& score = s[m][n][2 * half + i];
          float& gradient = g[m][n][2 * half + i];
          float x2 = score * scale2;
          bool seen = true;
          if constexpr (kGeneral) {
            x2 += slope2 * static_cast<float>(at - visible.last());
            seen = visible(at);
          }
          const KeyTerms<W> terms(row, x2, shift2, seen);
          gradient = (terms.slope * gradient - terms.pull * d) * coefficient;
          score = terms.weight;
        }
      }
    }
  }
}

/// Adds what the rows' ends are due to the gradients of scores.
template <Weighting W, int kM, int kN>
__device__ void add_ends(float (&g)[kM][kN][4], const BackwardRow<W>* rows, int key) {
#pragma unroll
  for (int n = 0; n < kN; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const EndGradients ends = rows[8 * n + i].ends;
#pragma unroll
      for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float& gradient = g[m][n][2 * half + i];
          const int at = key + 16 * m + 8 * half;
          if (at == ends.argmin) gradient += ends.at_min;
          if (at == ends.argmax) gradient += ends.at_max;
        }
      }
    }
  }
}

template <MonoidWeighting W, class Shape>
class KeyPass {
 public:
  static constexpr int kD = Shape::kD;
  static constexpr int kM = Shape::kM;
  static constexpr int kKeys = Shape::kKeys;
  static constexpr int kQueries = Shape::kQueries;

  __device__ explicit KeyPass(const BackwardArguments<W>& arguments)
      : a_(arguments),
        keys_{device::dynamic_shared<Bf16>()},
        values_{keys_.data + kKeys * kD},
        stages_{values_.data + kKeys * kD},
        rows_(reinterpret_cast<BackwardRow<W>*>(stages_.data + 4 * kQueries * kD)),
        tile_(*reinterpret_cast<KeyTile*>(rows_ + 2 * kQueries)),
        warp_row_(device::warp_id() * 16 * kM) {}

  __device__ void run() {
    if (threadIdx.x == 0) tile_.set(a_.in, kKeys);
    __syncthreads();
    load_tile<kKeys, Shape::kThreads>(keys_, a_.in.k.at(tile_.b, tile_.key, tile_.group),
                                      a_.in.k.time_stride, tile_.used, a_.in.k.head_size);
    load_tile<kKeys, Shape::kThreads>(values_, a_.in.v.at(tile_.b, tile_.key, tile_.group),
                                      a_.in.v.time_stride, tile_.used, a_.in.v.head_size);
    device::copy_async_commit();
    clear(dk_);
    clear(dv_);
    const int end = query_end();
    if (threadIdx.x == 0) tile_.set_queries(a_.in, end, kQueries);
    __syncthreads();
    if (tile_.steps > 0) load(0);
    for (int step = 0; step < tile_.steps; ++step) {
      device::copy_async_wait<0>();
      __syncthreads();  // this tile is there; nobody reads the one before
      if (step + 1 < tile_.steps) load(step + 1);
      add_tile(step);
    }
    device::copy_async_wait<0>();
    __syncthreads();
    const auto one = [](int, int) { return 1.0F; };
    store_rows(a_.dk.at(tile_.b, tile_.key + warp_row_, tile_.group), a_.dk.time_stride,
               tile_.keys - warp_row_, a_.dk.head_size, dk_, keys_, warp_row_, one);
    store_rows(a_.dv.at(tile_.b, tile_.key + warp_row_, tile_.group), a_.dv.time_stride,
               tile_.keys - warp_row_, a_.dv.head_size, dv_, values_, warp_row_, one);
  }

 private:
  __device__ Tile<kD> stage_tile(int stage, int which) const {
    return {stages_.data + (2 * stage + which) * kQueries * kD};
  }

  /// After the last query that sees any of the keys; every thread calls it.
  __device__ int query_end() const {
    if (tile_.used <= 0) return 0;
    if (a_.in.first_key == nullptr) return a_.in.time;
    int end = 0;
    for (int t = static_cast<int>(threadIdx.x); t < a_.in.time; t += Shape::kThreads) {
      if (a_.in.first(tile_.b, t) < tile_.key + tile_.used) end = t + 1;
    }
    return device::block_max(end);
  }

  __device__ int head(int step) const {
    return tile_.group * a_.in.heads_per_group + step / tile_.tiles;
  }
  __device__ int first_query(int step) const { return tile_.begin + step % tile_.tiles * kQueries; }

  __device__ void load(int step) {
    const int stage = step & 1;
    const int h = head(step);
    const int t = first_query(step);
    const int rows = a_.in.time - t;
    load_tile<kQueries, Shape::kThreads>(stage_tile(stage, 0), a_.in.q.at(tile_.b, t, h),
                                         a_.in.q.time_stride, rows, a_.in.q.head_size);
    load_tile<kQueries, Shape::kThreads>(stage_tile(stage, 1), a_.dout.at(tile_.b, t, h),
                                         a_.dout.time_stride, rows, a_.dout.head_size);
    constexpr int kParts = static_cast<int>(sizeof(BackwardRow<W>)) / 16;
    const auto* from = reinterpret_cast<const uint4*>(a_.rows + a_.in.row(tile_.b, h, t));
    auto* to = reinterpret_cast<uint4*>(rows_ + stage * kQueries);
    for (int i = static_cast<int>(threadIdx.x); i < kQueries * kParts; i += Shape::kThreads) {
      const bool take = i / kParts < rows;
      device::copy_async_16(to + i, take ? from + i : from,
                            take ? device::Fill::source : device::Fill::zero);
    }
    device::copy_async_commit();
  }

  __device__ void add_tile(int step) {
    const int stage = step & 1;
    const int t = first_query(step);
    const Tile<kD> q = stage_tile(stage, 0);
    const Tile<kD> dout = stage_tile(stage, 1);
    const BackwardRow<W>* rows = rows_ + stage * kQueries + place_.column;
    const int key = tile_.key + warp_row_ + place_.row;
    multiply_rows(s_, keys_, warp_row_, q);
    multiply_rows(g_, values_, warp_row_, dout);
    const bool general = a_.in.first_key != nullptr || a_.in.alibi != nullptr ||
                         t + kQueries > a_.in.time ||
                         a_.in.first_position + t < tile_.key + kKeys - 1;
    if (general) {
      const float slope2 = a_.in.slope(head(step)) * kLog2E;
      differentiate_columns<true>(s_, g_, rows, slope2, key, a_.weighting);
    } else {
      differentiate_columns<false>(s_, g_, rows, 0.0F, key, a_.weighting);
    }
    multiply_add_tile(dv_, s_, dout);
    if constexpr (W::kFixesExtremes) add_ends(g_, rows, key);
    multiply_add_tile(dk_, g_, q);
  }

  const BackwardArguments<W>& a_;
  const Place place_;
  const Tile<kD> keys_;
  const Tile<kD> values_;
  const Tile<kD> stages_;  // two stages of queries and dO
  BackwardRow<W>* const rows_;
  KeyTile& tile_;
  const int warp_row_;
  Accumulators<kM, kQueries> s_;
  Accumulators<kM, kQueries> g_;
  Accumulators<kM, kD> dk_;
  Accumulators<kM, kD> dv_;
};

template <MonoidWeighting W, class Shape>
__global__ void __launch_bounds__(Shape::kThreads)
    key_pass_kernel(const __grid_constant__ BackwardArguments<W> arguments) {
  KeyPass<W, Shape>(arguments).run();
}

template <int kHeadSize, MonoidWeighting W>
void run_backward_passes(Stream& stream, const BackwardArguments<W>& arguments,
                         std::int64_t batch) {
  using Queries = QueryPassShape<kHeadSize>;
  using Keys = KeyPassShape<kHeadSize>;
  device::launch_kernel<query_pass_kernel<W, Queries>>(
      stream,
      {.grid = query_grid(arguments.in, batch, Queries::kQueries),
       .block = dim3(Queries::kThreads),
       .shared_bytes = query_pass_shared_bytes<W, Queries>()},
      arguments);
  const int groups = arguments.in.heads / arguments.in.heads_per_group;
  device::launch_kernel<key_pass_kernel<W, Keys>>(
      stream,
      {.grid = dim3(static_cast<unsigned>(batch * groups),
                    static_cast<unsigned>((arguments.in.keys + Keys::kKeys - 1) / Keys::kKeys)),
       .block = dim3(Keys::kThreads),
       .shared_bytes = key_pass_shared_bytes<W, Keys>()},
      arguments);
}

}  // namespace ssmax::kernels::cuda
