#pragma once

#include "device/kernel_launch.cuh"
#include "kernels/attention/backward_row_cuda.cuh"

/// The second pass of the fused backward: keys stationary.
namespace ssmax::kernels::cuda {

template <int kHeadSize>
struct KeyPassShape {
  static constexpr int kD = kHeadSize;
  static constexpr int kM = kHeadSize == 64 ? 2 : 1;
  static constexpr int kWarps = kHeadSize == 64 ? 4 : 8;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kKeys = 16 * kM * kWarps;
  static constexpr int kQueries = kHeadSize == 64 ? 32 : 64;
};

/// Keys [key, key + keys) of a key/value head of sequence b. As QueryTile.
struct KeyTile {
  int b;
  int group;
  int key;
  int keys;
  int used;  ///< of the keys; those after the last position may never have been written

  template <class T>
  __device__ KeyTile(const DeviceInputs<T>& in, int most_keys)
      : b(static_cast<int>(blockIdx.y)),
        group(static_cast<int>(blockIdx.x)),
        key(static_cast<int>(blockIdx.z) * most_keys),
        keys(smaller(most_keys, in.keys - key)),
        used(smaller(keys, in.first_position + in.time - key)) {}

  template <class T>
  __device__ int first_head(const DeviceInputs<T>& in) const {
    return group * in.heads_per_group;
  }
  /// The first tile of queries that sees keys.
  template <class T>
  __device__ int first_query(const DeviceInputs<T>& in, int queries) const {
    return larger(0, key - in.first_position) / queries * queries;
  }
};

/// A tile of queries: those from t on of a head of the group.
struct QueryPlace {
  int t;
  int head;
};

template <Weighting W, class Shape>
constexpr std::int64_t key_pass_shared_bytes() {
  return (2 * Shape::kKeys + 4 * Shape::kQueries) * Shape::kD *
             static_cast<std::int64_t>(sizeof(Bf16)) +
         2 * Shape::kQueries * static_cast<std::int64_t>(sizeof(BackwardRow<W>));
}

/// What the rows' ends are due, added to the gradient of the score of key `at`.
template <Weighting W>
__device__ float with_ends(float gradient, const BackwardRow<W>& row, int at) {
  if constexpr (W::kFixesExtremes) {
    if (at == row.ends.argmin) gradient += row.ends.at_min;
    if (at == row.ends.argmax) gradient += row.ends.at_max;
  }
  return gradient;
}

/// The weights of scores s, and the gradients of the scores from g; all transposed: rows are keys
/// and columns queries.
template <bool kGeneral, Weighting W, int kM, int kN>
__device__ void differentiate_columns(std::uint32_t (&weights)[kM][kN][2],
                                      std::uint32_t (&ds)[kM][kN][2], const float (&s)[kM][kN][4],
                                      const float (&g)[kM][kN][4], const BackwardRow<W>* rows,
                                      float slope2, int key, const W& weighting) {
#pragma unroll
  for (int n = 0; n < kN; ++n) {
    float weight[2][kM][2];
    float gradient[2][kM][2];
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
          float x2 = s[m][n][2 * half + i] * scale2;
          bool seen = true;
          if constexpr (kGeneral) {
            x2 += slope2 * static_cast<float>(at - visible.last());
            seen = visible(at);
          }
          const KeyTerms<W> terms(row, x2, shift2, seen);
          const float dx = terms.slope * g[m][n][2 * half + i] - terms.pull * d;
          gradient[i][m][half] = with_ends(dx * coefficient, known, at);
          weight[i][m][half] = terms.weight;
        }
      }
    }
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        weights[m][n][half] = device::pack_bf16(weight[0][m][half], weight[1][m][half]);
        ds[m][n][half] = device::pack_bf16(gradient[0][m][half], gradient[1][m][half]);
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
  static constexpr int kUnroll = W::kFixesExtremes ? 1 : 4;
  static_assert(sizeof(BackwardRow<W>) / 16 % 2 == 1);

  __device__ explicit KeyPass(const BackwardArguments<W>& arguments)
      : a_(arguments),
        keys_{device::dynamic_shared<Bf16>()},
        values_{keys_.data + kKeys * kD},
        stages_{values_.data + kKeys * kD},
        rows_(reinterpret_cast<BackwardRow<W>*>(stages_.data + 4 * kQueries * kD)),
        tile_(a_.in, kKeys),
        warp_row_(device::warp_id() * 16 * kM) {}

  __device__ void run() {
    using Keys = TileSource<kKeys, Shape::kThreads, kD>;
    const int end_key = tile_.key + tile_.used;
    Keys(a_.in.k, tile_.b, tile_.group, end_key).load(keys_, tile_.key);
    Keys(a_.in.v, tile_.b, tile_.group, end_key).load(values_, tile_.key);
    device::copy_async_commit();
    clear(dk_);
    clear(dv_);
    const int end = query_end();
    if (tile_.first_query(a_.in, kQueries) < end) add_queries(end);
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

  using Source = TileSource<kQueries, Shape::kThreads, kD>;
  using Rows = SharedRows<kM, kD>;

  /// All tiles of queries below `end`, head after head.
  __device__ void add_queries(int end) {
    Source sources[2] = {{a_.in.q, tile_.b, tile_.first_head(a_.in), a_.in.time},
                         {a_.dout, tile_.b, tile_.first_head(a_.in), a_.in.time}};
    QueryPlace next{tile_.first_query(a_.in, kQueries), 0};
    load(sources, 0, next);
    const int first_key = tile_.key + device::uniform_warp_id() * 16 * kM;
    for (int stage = 0; next.head < a_.in.heads_per_group; stage ^= 1) {
      const QueryPlace now = next;
      next.t += kQueries;
      if (next.t >= end) {
        next = {tile_.first_query(a_.in, kQueries), next.head + 1};
        for (Source& source : sources) source.next_head();
      }
      device::copy_async_wait<0>();
      __syncthreads();  // this tile is there; nobody reads the one before
      if (next.head < a_.in.heads_per_group) load(sources, stage ^ 1, next);
      // Unless none of the queries sees the first of the warp's keys.
      if (a_.in.first_position + now.t + kQueries > first_key) add_tile(stage, now);
    }
  }

  __device__ void load(const Source (&sources)[2], int stage, const QueryPlace& at) {
    for (int i = 0; i < 2; ++i) sources[i].load(stage_tile(stage, i), at.t);
    constexpr int kParts = static_cast<int>(sizeof(BackwardRow<W>)) / 16;
    const int h = tile_.first_head(a_.in) + at.head;
    const auto* from = reinterpret_cast<const uint4*>(a_.rows + a_.in.row(tile_.b, h, at.t));
    const device::SharedAddress to = device::shared_address(rows_ + stage * kQueries);
    const int parts = kParts * (a_.in.time - at.t);
#pragma unroll
    for (int first = 0; first < kQueries * kParts; first += Shape::kThreads) {
      const int i = first + static_cast<int>(threadIdx.x);
      if (i >= kQueries * kParts) break;
      device::copy_async_16(to + 16 * i, from + i,
                            i < parts ? device::Fill::source : device::Fill::zero);
    }
    device::copy_async_commit();
  }

  __device__ void add_tile(int stage, const QueryPlace& at) {
    const Tile<kD> q = stage_tile(stage, 0);
    const Tile<kD> dout = stage_tile(stage, 1);
    const BackwardRow<W>* rows = rows_ + stage * kQueries + place_.column;
    const int key = tile_.key + warp_row_ + place_.row;
    multiply_rows<kUnroll>(s_, Rows{keys_, warp_row_}, q);
    multiply_rows<kUnroll>(g_, Rows{values_, warp_row_}, dout);
    const bool general = a_.in.first_key != nullptr || a_.in.alibi != nullptr ||
                         at.t + kQueries > a_.in.time ||
                         a_.in.first_position + at.t < tile_.key + kKeys - 1;
    if (general) {
      const float slope2 = a_.in.slope(tile_.first_head(a_.in) + at.head) * kLog2E;
      differentiate_columns<true>(weights_, ds_, s_, g_, rows, slope2, key, a_.weighting);
    } else {
      differentiate_columns<false>(weights_, ds_, s_, g_, rows, 0.0F, key, a_.weighting);
    }
    multiply_add_tile(dv_, weights_, dout);
    multiply_add_tile(dk_, ds_, q);
  }

  const BackwardArguments<W>& a_;
  const Place place_;
  const Tile<kD> keys_;
  const Tile<kD> values_;
  const Tile<kD> stages_;  // two stages of queries and dO
  BackwardRow<W>* const rows_;
  const KeyTile tile_;
  const int warp_row_;
  Accumulators<kM, kQueries> s_;
  Accumulators<kM, kQueries> g_;
  LeftOperands<kM, kQueries> weights_;
  LeftOperands<kM, kQueries> ds_;
  Accumulators<kM, kD> dk_;
  Accumulators<kM, kD> dv_;
};

template <MonoidWeighting W, class Shape>
__global__ void __launch_bounds__(Shape::kThreads)
    key_pass_kernel(const __grid_constant__ BackwardArguments<W> arguments) {
  KeyPass<W, Shape>(arguments).run();
}

template <int kHeadSize, MonoidWeighting W>
void run_key_pass(Stream& stream, const BackwardArguments<W>& arguments, std::int64_t batch) {
  using Shape = KeyPassShape<kHeadSize>;
  const int groups = arguments.in.heads / arguments.in.heads_per_group;
  device::launch_kernel<key_pass_kernel<W, Shape>>(
      stream,
      {.grid = tile_grid(groups, batch, arguments.in.keys, Shape::kKeys),
       .block = dim3(Shape::kThreads),
       .shared_bytes = key_pass_shared_bytes<W, Shape>()},
      arguments);
}

}  // namespace ssmax::kernels::cuda
