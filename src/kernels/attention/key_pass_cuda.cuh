#pragma once

#include <concepts>

#include "kernels/attention/pass_cuda.cuh"
#include "kernels/attention/query_sums_cuda.cuh"

/// The pass of the fused backward with keys stationary.
namespace ssmax::kernels::cuda {

template <int kHeadSize, BackwardForm kBackwardForm>
struct KeyPassShape {
  static constexpr int kD = kHeadSize;
  static constexpr BackwardForm kForm = kBackwardForm;
  static constexpr int kM = kHeadSize == 64 ? 2 : 1;
  static constexpr int kWarps = kHeadSize == 64 ? 4 : 8;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kKeys = 16 * kM * kWarps;
  static constexpr int kQueries = kHeadSize == 64 ? 32 : 64;
  static constexpr int kSumM = 2;
  static constexpr int kSumColumns = 32;
};

/// A tile of queries: those from t on of a head of the group.
struct QueryPlace {
  int t;
  int head;
};

/// Keys [key, key + keys) of a key/value head of sequence b. As QueryTile.
template <int kMostKeys>
struct KeyTile {
  int key;

  __device__ static int b() { return static_cast<int>(blockIdx.y); }
  __device__ static int group() { return static_cast<int>(blockIdx.x); }
  template <class T>
  __device__ int keys(const DeviceInputs<T>& in) const {
    return smaller(kMostKeys, in.keys - key);
  }
  /// Of the keys; those after the last position may never have been written.
  template <class T>
  __device__ int used(const DeviceInputs<T>& in) const {
    return smaller(keys(in), in.first_position + in.time - key);
  }
  /// After the last query that sees any of the keys. A warp finds it together.
  template <class T>
  __device__ int query_end(const DeviceInputs<T>& in) const {
    const int end_key = key + used(in);
    if (end_key <= key) return 0;
    if (in.first_key == nullptr) return in.time;
    int end = 0;
    for (int t = device::lane_id(); t < in.time; t += device::kWarpSize) {
      if (in.first(b(), t) < end_key) end = t + 1;
    }
    return device::warp_max(end);
  }
  template <class T>
  __device__ static int first_head(const DeviceInputs<T>& in) {
    return group() * in.heads_per_group;
  }
  /// Whether some of `queries` queries from t on do not see all of the keys, or with a bias.
  template <class T>
  __device__ bool is_general(const DeviceInputs<T>& in, int t, int queries) const {
    return in.first_key != nullptr || in.alibi != nullptr || t + queries > in.time ||
           in.first_position + t < key + kMostKeys - 1;
  }
  /// Of the form together: where the block's sums of a tile of queries are.
  template <class T>
  __device__ std::int64_t sum_index(const DeviceInputs<T>& in, const QueryPlace& at) const {
    const SumTile place{static_cast<int>(blockIdx.z), b(), first_head(in) + at.head,
                        at.t / kSummedQueries};
    return place.index(static_cast<int>(gridDim.y), in.heads, summed_tiles(in.time));
  }
  /// Whether there is nothing in them yet that these keys are added to.
  template <class T>
  __device__ bool begins(const DeviceInputs<T>& in) const {
    return begins_sums(in) && key < static_cast<int>(gridDim.z) * kMostKeys;
  }
};

/// Whether a key holds an end of a row, and what is added to the gradient of its score then.
template <Weighting W>
struct EndAt {
  bool is_end = false;
  float due = 0.0F;

  __device__ EndAt(const BackwardRow<W>& row, int at) {
    if constexpr (W::kFixesExtremes) {
      const bool is_min = at == row.ends.argmin;
      const bool is_max = at == row.ends.argmax;
      is_end = is_min || is_max;
      due = (is_min ? row.ends.at_min : 0.0F) + (is_max ? row.ends.at_max : 0.0F);
    }
  }
};

/// dx of a key, before the ends get what they are due: nothing rises there, as in the query pass.
template <MonoidWeighting W>
__device__ float gradient_of(const KeyTerms<W>& terms, const RowOf<W, float>& row, float g, float d,
                             bool is_end) {
  if constexpr (ExponentialWeighting<W>) {
    // Rounded to bf16 next; the difference of products takes fewer registers.
    return terms.pull() * g - terms.pull() * d;
  } else if constexpr (SharingWeighting<W>) {
    float total = terms.aim(g) - d;
    if constexpr (RisingWeighting<W>) total += is_end ? 0.0F : W::rise(row) * g;
    return terms.pull() * total;
  } else {
    return terms.slope() * g;
  }
}

/// The weights of scores s, and the gradients of the scores from g; all transposed: rows are keys
/// and columns queries. put(m, n, half, dx) receives dx of two queries, before c and tau.
template <bool kGeneral, Weighting W, int kM, int kN, class Put>
__device__ void differentiate_columns(std::uint32_t (&weights)[kM][kN][2],
                                      std::uint32_t (&ds)[kM][kN][2], const float (&s)[kM][kN][4],
                                      const float (&g)[kM][kN][4], const BackwardRow<W>* rows,
                                      float slope2, int key, const W& weighting, const Put& put) {
#pragma unroll
  for (int n = 0; n < kN; ++n) {
    float weight[2][kM][2];
    float gradient[2][kM][2];
    float unscaled[2][kM][2];
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
          const EndAt<W> end(known, at);
          const float dx = gradient_of(terms, row, g[m][n][2 * half + i], d, end.is_end);
          gradient[i][m][half] = dx * coefficient + end.due;
          unscaled[i][m][half] = dx;
          weight[i][m][half] = terms.weight();
        }
      }
    }
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        weights[m][n][half] = device::pack_bf16(weight[0][m][half], weight[1][m][half]);
        ds[m][n][half] = device::pack_bf16(gradient[0][m][half], gradient[1][m][half]);
        put(m, n, half, unscaled[0][m][half], unscaled[1][m][half]);
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
  static constexpr bool kTogether = Shape::kForm == BackwardForm::together;
  static constexpr int kUnroll = W::kFixesExtremes ? 1 : SharingWeighting<W> ? 4 : 2;
  static constexpr int kThreads = Shape::kThreads;
  static constexpr int kLeastBlocks = 0;
  using Arguments = BackwardArguments<W>;
  static_assert(sizeof(BackwardRow<W>) / 16 % 2 == 1);
  static_assert(!kTogether || std::same_as<W, SoftmaxWeighting>);

  static constexpr std::int64_t shared_bytes() {
    return ((2 * kKeys + 4 * kQueries) * kD + kDxElements) *
               static_cast<std::int64_t>(sizeof(Bf16)) +
           2 * kQueries * static_cast<std::int64_t>(sizeof(BackwardRow<W>));
  }

  __device__ explicit KeyPass(const Arguments& arguments)
      : a_(arguments),
        keys_{device::dynamic_shared<Bf16>()},
        values_{keys_.data + kKeys * kD},
        stages_{values_.data + kKeys * kD},
        dx_{stages_.data + 4 * kQueries * kD},
        rows_(reinterpret_cast<BackwardRow<W>*>(dx_.data + kDxElements)),
        tile_{static_cast<int>(blockIdx.z) * kKeys},
        warp_row_(device::warp_id() * 16 * kM) {}

  /// One tile of keys; in the form together every gridDim.z-th from there on.
  __device__ void run() {
    if constexpr (kTogether) {
      for (;;) {
        add_keys();
        tile_.key += static_cast<int>(gridDim.z) * kKeys;
        if (tile_.key >= a_.in.keys) break;
        __syncthreads();  // the tiles' rows are stored
      }
    } else {
      add_keys();
    }
  }

 private:
  static constexpr int kDxElements = kTogether ? kKeys * kSummedQueries : 0;

  __device__ void add_keys() {
    using Keys = TileSource<kKeys, Shape::kThreads, kD>;
    const int end_key = tile_.key + tile_.used(a_.in);
    Keys(a_.in.k, tile_.b(), tile_.group(), end_key).load(keys_, tile_.key);
    Keys(a_.in.v, tile_.b(), tile_.group(), end_key).load(values_, tile_.key);
    device::copy_async_commit();
    clear(dk_);
    clear(dv_);
    const int end = tile_.query_end(a_.in);
    if (first_query() < end) add_queries(end);
    device::copy_async_wait<0>();
    __syncthreads();
    const auto one = [](int, int) { return 1.0F; };
    store_rows(a_.dk.at(tile_.b(), tile_.key + warp_row_, tile_.group()), a_.dk.time_stride,
               tile_.keys(a_.in) - warp_row_, a_.dk.head_size, dk_, keys_, warp_row_, one);
    store_rows(a_.dv.at(tile_.b(), tile_.key + warp_row_, tile_.group()), a_.dv.time_stride,
               tile_.keys(a_.in) - warp_row_, a_.dv.head_size, dv_, values_, warp_row_, one);
  }

  __device__ Tile<kD> stage_tile(int stage, int which) const {
    return {stages_.data + (2 * stage + which) * kQueries * kD};
  }

  __device__ int first_query() const {
    constexpr int kAtOnce = kTogether ? kSummedQueries : kQueries;
    return first_query_tile(a_.in, tile_.key, kAtOnce) * kAtOnce;
  }
  using Source = TileSource<kQueries, Shape::kThreads, kD>;
  using Rows = SharedRows<kM, kD>;

  /// All tiles of queries below `end`, head after head.
  __device__ void add_queries(int end) {
    Source sources[2] = {{a_.in.q, tile_.b(), tile_.first_head(a_.in), a_.in.time},
                         {a_.dout, tile_.b(), tile_.first_head(a_.in), a_.in.time}};
    QueryPlace next{first_query(), 0};
    load(sources, 0, next);
    const int first_key = tile_.key + device::uniform_warp_id() * 16 * kM;
    for (int stage = 0; next.head < a_.in.heads_per_group; stage ^= 1) {
      const QueryPlace now = next;
      next.t += kQueries;
      // Queries of which sums are kept together are all there, were it as zeros.
      if (next.t >= end && (!kTogether || next.t % kSummedQueries == 0)) {
        next = {first_query(), next.head + 1};
        for (Source& source : sources) source.next_head();
      }
      device::copy_async_wait<0>();
      __syncthreads();  // this tile is there; nobody reads the one before
      if (next.head < a_.in.heads_per_group) load(sources, stage ^ 1, next);
      // Whether any of the queries sees the first of the warp's keys.
      const bool sees = a_.in.first_position + now.t + kQueries > first_key;
      if (sees) {
        add_tile(stage, now);
      } else if constexpr (kTogether) {
        put_zeros(now);
      }
      if constexpr (kTogether) {
        if (completes_sums(now)) add_query_sums(now);
      }
    }
  }

  __device__ void load(const Source (&sources)[2], int stage, const QueryPlace& at) {
    for (int i = 0; i < 2; ++i) sources[i].load(stage_tile(stage, i), at.t);
    constexpr int kParts = static_cast<int>(sizeof(BackwardRow<W>)) / 16;
    const int h = tile_.first_head(a_.in) + at.head;
    const auto* from = reinterpret_cast<const uint4*>(a_.rows + a_.in.row(tile_.b(), h, at.t));
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
    const auto put = [&](int m, int n, int half, float low, float high) {
      if constexpr (kTogether) put_dx(at, m, n, half, device::pack_bf16(low, high));
    };
    if (tile_.is_general(a_.in, at.t, kQueries)) {
      const float slope2 = a_.in.slope(tile_.first_head(a_.in) + at.head) * kLog2E;
      differentiate_columns<true>(weights_, ds_, s_, g_, rows, slope2, key, a_.weighting, put);
    } else {
      differentiate_columns<false>(weights_, ds_, s_, g_, rows, 0.0F, key, a_.weighting, put);
    }
    multiply_add_tile(dv_, weights_, dout);
    multiply_add_tile(dk_, ds_, q);
  }

  /// dx of the warp's keys and two queries, to where the block sums over its keys.
  __device__ void put_dx(const QueryPlace& at, int m, int n, int half, std::uint32_t pair) const {
    const int chunk = at.t % kSummedQueries / 8 + n;
    const int row = warp_row_ + 16 * m + 8 * half + place_.row;
    *reinterpret_cast<std::uint32_t*>(dx_.chunk(row, chunk) + place_.column) = pair;
  }
  __device__ void put_zeros(const QueryPlace& at) const {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int n = 0; n < kQueries / 8; ++n) {
        for (int half = 0; half < 2; ++half) put_dx(at, m, n, half, 0);
      }
    }
  }

  /// Of the warps that have the same 32 rows of dq', one sums dx of the first 16 and one of the
  /// others; the warps from the fourth on do it again.
  __device__ static bool sums_second_rows() { return (threadIdx.x & 64U) != 0; }
  __device__ static bool completes_sums(const QueryPlace& at) {
    return at.t % kSummedQueries == kSummedQueries - kQueries;
  }
  /// dq' += the transpose of dx times the keys, R += the sums of dx over the keys.
  __device__ void add_query_sums(const QueryPlace& at) {
    float4* tile = Sums::tile(a_.query_sums, tile_.sum_index(a_.in, at));
    const bool second = sums_second_rows();
    float* row_sums = Sums::row_sums(tile) + Sums::row() + (second ? 16 : 0) + place_.row;
    typename Sums::Part dq;
    float sums[4] = {};
    if (tile_.begins(a_.in)) {
      clear(dq);
    } else {
      Sums::load(dq, tile);
      sums[0] = row_sums[0];
      sums[2] = row_sums[8];
    }
    __syncthreads();  // dx of all warps is there
    multiply_add_transposed<kKeys>(dq, sums, second, dx_, Sums::row(), keys_, Sums::column());
    Sums::store(tile, dq);
    if (place_.column == 0 && device::warp_id() < 4) {
      row_sums[0] = sums[0];
      row_sums[8] = sums[2];
    }
  }

  using Sums = QuerySums<Shape>;
  static_assert(!kTogether || Sums::kThreads == kThreads);

  const Arguments& a_;
  const Place place_;
  const Tile<kD> keys_;
  const Tile<kD> values_;
  const Tile<kD> stages_;          // two stages of queries and dO
  const Tile<kSummedQueries> dx_;  // (keys, queries)
  BackwardRow<W>* const rows_;
  KeyTile<kKeys> tile_;
  const int warp_row_;
  Accumulators<kM, kQueries> s_;
  Accumulators<kM, kQueries> g_;
  LeftOperands<kM, kQueries> weights_;
  LeftOperands<kM, kQueries> ds_;
  Accumulators<kM, kD> dk_;
  Accumulators<kM, kD> dv_;
};

/// Blocks of a head take turns at its tiles of keys; in the form apart every tile has one.
template <class Shape, MonoidWeighting W>
void run_key_pass(Stream& stream, const BackwardArguments<W>& arguments, std::int64_t batch,
                  std::int64_t blocks) {
  const int groups = arguments.in.heads / arguments.in.heads_per_group;
  launch_pass<KeyPass<W, Shape>>(stream, tile_grid(groups, batch, blocks), arguments);
}

}  // namespace ssmax::kernels::cuda
