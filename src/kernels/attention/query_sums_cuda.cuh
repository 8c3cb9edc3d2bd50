#pragma once

#include "kernels/attention/backward_row_cuda.cuh"
#include "kernels/attention/pass_cuda.cuh"

/// dq' = sum_j dx_j k_j in fp32 global memory, which the key pass adds to, tile of keys after tile
/// of keys; and the kernels before and after it.
///
/// dc = sum_j dx_j z_j = tau q.dq' cancels where one key dominates: the z_j are alike there, and
/// sum_j dx_j = 0 is only as exact as D, which the stored output gives with eight bits. So the
/// passes also sum dx as it was rounded, R = sum_j dx_j, and dc = tau (q.dq' - s0 R) with an s0
/// near the row's mean score: the same in exact arithmetic, and off by 3e-3 where tau q.dq' is by
/// 1e-1.
namespace ssmax::kernels::cuda {

/// Queries of a tile of sums.
inline constexpr int kSummedQueries = 64;

/// A tile (kSummedQueries, kD) of dq' lies in the order of the accumulators that threads of the key
/// pass have of it: a sum has one thread, and neighbours read and write 16 bytes each side by side.
/// R of its queries comes behind it. The pass's shape says who has what:
///   kSumM, kSumColumns  rows of a warp, in sixteens, and its columns
template <class Shape>
struct QuerySums {
  static constexpr int kD = Shape::kD;
  static constexpr int kKeys = Shape::kKeys;
  static constexpr int kM = Shape::kSumM;
  static constexpr int kColumns = Shape::kSumColumns;
  static constexpr int kPacks = kM * kColumns / 8;  // of a thread
  static constexpr int kThreads = kSummedQueries * kD / (4 * kPacks);
  using Part = Accumulators<kM, kColumns>;

  // Threads of the block beyond kThreads take their places again. Unsigned, as a thread's index is:
  // a sign costs registers.
  __device__ static unsigned thread() { return threadIdx.x % kThreads; }
  __device__ static int row() { return static_cast<int>(thread() / 32 % kRowWarps * 16 * kM); }
  __device__ static int column() {
    return static_cast<int>(thread() / (32 * kRowWarps) * kColumns);
  }

  static constexpr int kOfQueries = kPacks * kThreads;  // before R
  static constexpr std::int64_t kTilePacks = kOfQueries + kSummedQueries / 4;

  /// The sums of a tile, by its index.
  __device__ static float4* tile(float4* sums, std::int64_t index) {
    return sums + index * kTilePacks;
  }
  __device__ static float* row_sums(float4* tile) {
    return reinterpret_cast<float*>(tile + kOfQueries);
  }
  __device__ static void load(Part& part, const float4* tile) {
    const float4* from = tile + thread();
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      float(&c)[4] = part[i / (kColumns / 8)][i % (kColumns / 8)];
      const float4 pack = from[i * kThreads];
      c[0] = pack.x;
      c[1] = pack.y;
      c[2] = pack.z;
      c[3] = pack.w;
    }
  }
  __device__ static void store(float4* tile, const Part& part) {
    float4* to = tile + thread();
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const float(&c)[4] = part[i / (kColumns / 8)][i % (kColumns / 8)];
      to[i * kThreads] = make_float4(c[0], c[1], c[2], c[3]);
    }
  }

 private:
  static constexpr int kRowWarps = kSummedQueries / (16 * kM);
};

/// Tiles of sums of a sequence.
HD constexpr int summed_tiles(int time) { return (time + kSummedQueries - 1) / kSummedQueries; }

/// Whether the first tile of keys of a block meets every query that its later ones meet, and so
/// need not find zeros to add to.
template <class T>
HD bool begins_sums(const DeviceInputs<T>& in) {
  return in.first_key == nullptr;
}

/// The first tile of queries, of `queries` each, that sees keys from `key` on.
template <class T>
__device__ int first_query_tile(const DeviceInputs<T>& in, int key, int queries) {
  return larger(0, key - in.first_position) / queries;
}

/// The index of a tile of sums (splits, B, H, tiles).
struct SumTile {
  int split;
  int b;
  int h;
  int tile;

  __device__ std::int64_t index(int batch, int heads, int tiles) const {
    return ((static_cast<std::int64_t>(split) * batch + b) * heads + h) * tiles + tile;
  }
};

/// c += columns [row, row + 16 kM) of `a`, transposed, times columns [column, column + 8 kN) of
/// `b`; and of 16 of those columns, the first or the second, the sums, in all columns of `sums`.
template <int kRows, int kN, int kQueries, int kD>
__device__ void multiply_add_transposed(float (&c)[2][kN][4], float (&sums)[4], bool second,
                                        Tile<kQueries> a, int row, Tile<kD> b, int column) {
  constexpr std::uint32_t kOnes = 0x3f803f80U;  // two bf16
  const auto right_down = LaneOffset<kQueries>::right_down(row / 8);
  const auto down_right = LaneOffset<kD>::down_right(column / 8);
#pragma unroll
  for (int k = 0; k < kRows; k += 16) {
    std::uint32_t left[2][4];
    std::uint32_t summed[4];
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      device::load_matrices_transposed(left[m], right_down.in(a, k, 2 * m));
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) summed[i] = second ? left[1][i] : left[0][i];
    device::multiply_add(sums, summed, kOnes, kOnes);
#pragma unroll
    for (int n = 0; n < kN; n += 2) {
      std::uint32_t right[4];
      device::load_matrices_transposed(right, down_right.in(b, k, n));
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        device::multiply_add(c[m][n], left[m], right[0], right[1]);
        device::multiply_add(c[m][n + 1], left[m], right[2], right[3]);
      }
    }
  }
}

inline constexpr int kRowKernelThreads = 256;

/// Rows as the key pass reads them, D from the stored output. kD / 8 lanes have a row.
template <Weighting W, int kD>
__global__ void __launch_bounds__(kRowKernelThreads)
    prepare_rows_kernel(const __grid_constant__ BackwardArguments<W> a) {
  constexpr int kLanes = kD / 8;
  constexpr int kRows = kRowKernelThreads / kLanes;
  const QueryTile tile(a.in, kRows);
  const int r = static_cast<int>(threadIdx.x) / kLanes;
  const int column = static_cast<int>(threadIdx.x) % kLanes * 8;
  const int t = tile.t + r;
  const bool is_query = r < tile.rows;
  BackwardRow<W> row =
      is_query ? a.known_row(tile.b, tile.h, t, tile.visible(a.in, r)) : BackwardRow<W>{};
  row.d = stored_d<kLanes>(a, row, tile.b, tile.h, t, column, a.in.q.at(tile.b, t, tile.h) + column,
                           a.dout.at(tile.b, t, tile.h) + column);
  if (column == 0 && is_query) a.rows[a.in.row(tile.b, tile.h, t)] = row;
}

/// A score near the mean of a row by its weights: that of scores that are distributed normally
/// around 0, from L and n. There L = ln n + variance / 2 and the mean is the variance, up to where
/// the largest of n scores dominates and is nearly L.
template <Weighting W>
__device__ float reference_score(const BackwardRow<W>& row) {
  const float l = row.shift2 * kLn2;
  const float n = static_cast<float>(row.visible.count);
  const float mean = fmaxf(fminf(2.0F * (l - logf(n)), l), 0.0F);
  return row.coefficient == 0.0F ? 0.0F : mean / row.coefficient;
}

/// dq and dc from the sums: dq = c tau dq', dc = tau (q.dq' - s0 R).
template <class Sums, Weighting W>
__global__ void __launch_bounds__(Sums::kThreads)
    finish_queries_kernel(const __grid_constant__ BackwardArguments<W> a, int splits) {
  constexpr int kD = Sums::kD;
  constexpr int kStride = kD + 8;  // rows begin in different banks
  auto& shared = device::static_shared<float[kSummedQueries * kStride]>();
  const QueryTile tile(a.in, kSummedQueries);
  const int tiles = summed_tiles(a.in.time);
  const auto batch = static_cast<int>(gridDim.y);
  // Blocks whose keys come after the queries have no sums of them; the first has.
  while (first_query_tile(a.in, (splits - 1) * Sums::kKeys, kSummedQueries) * kSummedQueries >
         tile.t) {
    --splits;
  }
  const auto sums_of = [&](int split) {
    return Sums::tile(a.query_sums, SumTile{split, tile.b, tile.h, tile.t / kSummedQueries}.index(
                                        batch, a.in.heads, tiles));
  };
  typename Sums::Part sums;
  Sums::load(sums, sums_of(0));
  for (int split = 1; split < splits; ++split) {
    typename Sums::Part more;
    Sums::load(more, sums_of(split));
#pragma unroll
    for (int m = 0; m < Sums::kM; ++m) {
#pragma unroll
      for (int n = 0; n < Sums::kColumns / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[m][n][i] += more[m][n][i];
      }
    }
  }
  const Place place;
#pragma unroll
  for (int m = 0; m < Sums::kM; ++m) {
#pragma unroll
    for (int n = 0; n < Sums::kColumns / 8; ++n) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float* to = shared + (Sums::row() + 16 * m + 8 * half + place.row) * kStride +
                    Sums::column() + 8 * n + place.column;
        *reinterpret_cast<float2*>(to) =
            make_float2(sums[m][n][2 * half], sums[m][n][2 * half + 1]);
      }
    }
  }
  __syncthreads();
  constexpr int kLanes = kD / 4;  // of a row
  const int column = static_cast<int>(threadIdx.x) % kLanes * 4;
  const bool used = column < a.in.q.head_size;
  for (int r = static_cast<int>(threadIdx.x) / kLanes; r < kSummedQueries;
       r += Sums::kThreads / kLanes) {
    const int t = tile.t + r;
    const bool is_query = r < tile.rows;
    const float c = tile.row_scale(a.in, r);
    float dot = 0.0F;
    if (is_query && used) {
      const auto sum = device::load_values<4>(&shared[r * kStride + column]);
      const auto q = device::load_values<4>(a.in.q.at(tile.b, t, tile.h) + column);
      device::Values<4> dq;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        dot += q[i] * sum[i];
        dq[i] = sum[i] * c * a.in.tau;
      }
      device::store_values(a.dq.at(tile.b, t, tile.h) + column, dq);
    }
    dot = device::warp_reduce<device::Sum, kLanes>(dot);
    if (column == 0 && is_query) {
      const std::int64_t row = a.in.row(tile.b, tile.h, t);
      float row_sum = 0.0F;
      for (int split = 0; split < splits; ++split) row_sum += Sums::row_sums(sums_of(split))[r];
      a.drow_scale[row] = (dot - reference_score(a.rows[row]) * row_sum) * a.in.tau;
    }
  }
}

template <int kD, Weighting W>
void prepare_rows(Stream& stream, const BackwardArguments<W>& arguments, std::int64_t batch) {
  constexpr int kRows = kRowKernelThreads / (kD / 8);
  device::launch_kernel<prepare_rows_kernel<W, kD>>(
      stream,
      {.grid = tile_grid(arguments.in.heads, batch, base::div_up(arguments.in.time, kRows)),
       .block = dim3(kRowKernelThreads)},
      arguments);
}

template <class Sums, Weighting W>
void finish_queries(Stream& stream, const BackwardArguments<W>& arguments, std::int64_t batch,
                    std::int64_t splits) {
  device::launch_kernel<finish_queries_kernel<Sums, W>>(
      stream,
      {.grid = tile_grid(arguments.in.heads, batch, summed_tiles(arguments.in.time)),
       .block = dim3(Sums::kThreads)},
      arguments, static_cast<int>(splits));
}

}  // namespace ssmax::kernels::cuda
