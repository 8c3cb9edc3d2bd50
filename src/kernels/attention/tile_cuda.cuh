#pragma once

#include <cmath>
#include <cstdint>

#include "base/checked.h"
#include "device/ptx.cuh"
#include "device/shared_memory.cuh"
#include "device/vector_access.cuh"
#include "device/warp.cuh"
#include "kernels/attention/attention.h"

/// What the tiled attention kernels share: bf16 tiles in shared memory, the two matrix products on
/// them, and which keys a row sees. The kernels hold scores in registers as the accumulators of
/// m16n8k16 products; a warp owns whole rows.
namespace ssmax::kernels::cuda {

using device::Bf16;
using device::kAllLanes;

inline constexpr float kLog2E = 1.44269504088896340736F;
inline constexpr float kLn2 = 0.69314718055994530942F;
/// Score of a masked key: far below any, and finite, so that times 0 it is 0.
inline constexpr float kMasked = -1e30F;

// By value: a reference would ask device code for the address of a host's constant.
__device__ constexpr int smaller(int a, int b) { return a < b ? a : b; }
__device__ constexpr int larger(int a, int b) { return a < b ? b : a; }

/// A tensor (B, T, heads, D) in device memory.
template <class T>
struct Heads {
  T* data = nullptr;
  std::int64_t batch_stride = 0;
  int time_stride = 0;
  int head_size = 0;

  /// Row t of a head; the next one is time_stride elements on.
  __device__ T* at(int b, int t, int h) const {
    return data + b * batch_stride + static_cast<std::int64_t>(t) * time_stride + h * head_size;
  }
};

template <class T, class View>
auto heads_of(const View& view) {
  using Element = std::remove_pointer_t<decltype(view.template at<T>(0, 0, 0))>;
  return Heads<Element>{view.template at<T>(0, 0, 0), view.batch_stride,
                        base::narrow<int>(view.time_stride), base::narrow<int>(view.head_size)};
}

/// Whether every row of every head starts at a multiple of 16 bytes.
inline bool starts_aligned(const ConstHeadsView& view) {
  const auto data = reinterpret_cast<std::uintptr_t>(view.storage.raw());
  const std::int64_t element = device::size_of(view.storage.dtype());
  const auto aligned = [&](std::int64_t elements) { return elements * element % 16 == 0; };
  return data % 16 == 0 && aligned(view.offset) && aligned(view.batch_stride) &&
         aligned(view.time_stride) && aligned(view.head_size);
}

/// AttentionInputs for kernels.
template <class T>
struct DeviceInputs {
  Heads<const T> q;
  Heads<const T> k;
  Heads<const T> v;
  const float* row_scale;         // (B, H, T)
  const std::int32_t* first_key;  // (B, T) or null
  const float* alibi;             // (H) or null
  const float* head_parameter;    // (H) or null
  int heads;
  int heads_per_group;
  int time;
  int keys;
  int first_position;
  float tau;  // 1 / sqrt(D)

  DeviceInputs(const AttentionInputs& inputs, const ConstTensor& parameter)
      : q(heads_of<T>(inputs.q)),
        k(heads_of<T>(inputs.k)),
        v(heads_of<T>(inputs.v)),
        row_scale(inputs.row_scale.data<float>()),
        first_key(inputs.first_key.empty() ? nullptr : inputs.first_key.data<std::int32_t>()),
        alibi(inputs.alibi.empty() ? nullptr : inputs.alibi.data<float>()),
        head_parameter(parameter.empty() ? nullptr : parameter.data<float>()),
        heads(static_cast<int>(inputs.q.heads)),
        heads_per_group(static_cast<int>(inputs.q.heads / inputs.k.heads)),
        time(static_cast<int>(inputs.q.time)),
        keys(static_cast<int>(inputs.k.time)),
        first_position(static_cast<int>(inputs.first_position)),
        tau(1.0F / std::sqrt(static_cast<float>(inputs.q.head_size))) {}

  __device__ std::int64_t row(int b, int h, int t) const {
    return (static_cast<std::int64_t>(b) * heads + h) * time + t;
  }
  __device__ int first(int b, int t) const {
    return first_key == nullptr ? 0 : first_key[static_cast<std::int64_t>(b) * time + t];
  }
  __device__ float slope(int h) const { return alibi == nullptr ? 0.0F : alibi[h]; }
  template <class W>
  __device__ float head(int h, const W& weighting) const {
    if constexpr (HeadWeighting<W>) {
      return head_parameter == nullptr ? static_cast<float>(weighting.head_constant())
                                       : head_parameter[h];
    }
    return 0.0F;
  }
};

/// The keys that a query sees: [first, first + count). A row that is no query sees none.
struct Visible {
  int first = 0;
  int count = 0;

  __device__ bool operator()(int key) const {
    return static_cast<unsigned>(key - first) < static_cast<unsigned>(count);
  }
  __device__ int last() const { return first + count - 1; }
};

/// A tile (rows, kD) of bf16 in shared memory, aligned to eight rows. Sixteen bytes c of row r lie
/// at c ^ (r % 8), so that eight rows of a matrix load touch all 32 banks once.
template <int kD>
struct Tile {
  Bf16* data;

  __device__ Bf16* chunk(int row, int c) const { return data + offset(row, c); }
  __device__ device::SharedAddress address() const { return device::shared_address(data); }

  __device__ static int offset(int row, int c) { return row * kD + ((c ^ (row & 7)) << 3); }
};

/// Where a lane's row of a matrix load lies in a tile: two matrices below each other, two side by
/// side. Sixteen bytes c further along D is an exclusive or, since no row's offset reaches into the
/// bits of c; eight rows further down is an addition.
template <int kD>
struct LaneOffset {
  device::SharedAddress bytes;

  /// Matrices in the order down, then right; sixteen bytes `first` of the rows are their first, a
  /// multiple of a power of two above the c that `in` is asked for.
  __device__ static LaneOffset down_right(int first = 0) {
    const int lane = device::lane_id();
    return of(lane & 15, first + (lane >> 4));
  }
  /// Matrices in the order right, then down.
  __device__ static LaneOffset right_down(int first = 0) {
    const int lane = device::lane_id();
    return of((lane & 7) + ((lane >> 4) << 3), first + ((lane >> 3) & 1));
  }
  /// The exclusive or comes after the tile's address: before it, every c would be the same for all
  /// tiles, and the compiler would keep them in registers that are not there.
  __device__ device::SharedAddress in(Tile<kD> tile, int row, int c) const {
    return ((tile.address() + bytes) ^ static_cast<device::SharedAddress>(16 * c)) +
           static_cast<device::SharedAddress>(row * kD) * sizeof(Bf16);
  }

 private:
  __device__ static LaneOffset of(int row, int c) {
    return {static_cast<device::SharedAddress>(Tile<kD>::offset(row, c)) *
            static_cast<device::SharedAddress>(sizeof(Bf16))};
  }
};

/// Rows [0, end) of one head of a tensor as the source of tiles of kRows rows: a thread copies 16
/// bytes of every kRowsAtOnce-th row. Made once, so that a tile costs its copies and an addition
/// each.
template <int kRows, int kThreads, int kD>
class TileSource {
 public:
  __device__ TileSource(const Heads<const Bf16>& heads, int b, int h, int end)
      : heads_(heads),
        first_(static_cast<unsigned>((heads.at(b, first_row(), h) + column() - heads.data) / 8)),
        // Columns beyond the head size are rows beyond the end.
        end_(column() < heads.head_size ? end - first_row() : 0) {}

  /// Starts the copies of rows [row, row + kRows); what lies beyond the end, or beyond the head
  /// size, becomes 0.
  __device__ void load(Tile<kD> tile, int row) const {
    const unsigned stride = static_cast<unsigned>(heads_.time_stride) / 8;
    const uint4* from = reinterpret_cast<const uint4*>(heads_.data) +
                        (first_ + static_cast<unsigned>(row) * stride);
    const device::SharedAddress to =
        tile.address() + Tile<kD>::offset(first_row(), column() / 8) * kBytes;
    const int rows = end_ - row;
#pragma unroll
    for (int i = 0; i < kRows; i += kRowsAtOnce) {
      device::copy_async_16(to + i * kD * kBytes, from,
                            i < rows ? device::Fill::source : device::Fill::zero);
      from += kRowsAtOnce * stride;
    }
  }
  __device__ void next_head() { first_ += static_cast<unsigned>(heads_.head_size) / 8; }

 private:
  static constexpr int kBytes = sizeof(Bf16);
  static constexpr int kChunks = kD / 8;
  static constexpr int kRowsAtOnce = kThreads / kChunks;
  static_assert(kThreads % kChunks == 0 && kRows % kRowsAtOnce == 0 && kRowsAtOnce % 8 == 0);

  __device__ static int first_row() { return static_cast<int>(threadIdx.x) / kChunks; }
  __device__ static int column() { return static_cast<int>(threadIdx.x) % kChunks * 8; }

  const Heads<const Bf16>& heads_;  // a kernel's argument, which costs no registers
  unsigned first_;                  // in 16 bytes from the tensor's begin
  int end_;
};

/// Scores, or the columns of an output, of 16 kM rows: accumulators [m][n] of 16 x 8 elements.
template <int kM, int kN>
using Accumulators = float[kM][kN / 8][4];

template <int kM, int kN>
__device__ void clear(float (&c)[kM][kN][4]) {
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int n = 0; n < kN; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) c[m][n][i] = 0.0F;
    }
  }
}

/// Rows [row, row + 16 kM) of a tile as left operands, read from shared memory at every use.
template <int kM, int kD>
struct SharedRows {
  Tile<kD> tile;
  int row;

  __device__ void load(std::uint32_t (&to)[kM][4], int k) const {
    const auto down_right = LaneOffset<kD>::down_right();
#pragma unroll
    for (int m = 0; m < kM; ++m) {
      device::load_matrices(to[m], down_right.in(tile, row + 16 * m, 2 * k));
    }
  }
};

/// The same, kept in registers.
template <int kM, int kD>
class HeldRows {
 public:
  __device__ explicit HeldRows(const SharedRows<kM, kD>& rows) {
#pragma unroll
    for (int k = 0; k < kD / 16; ++k) rows.load(held_[k], k);
  }
  __device__ void load(std::uint32_t (&to)[kM][4], int k) const {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) to[m][i] = held_[k][m][i];
    }
  }

 private:
  std::uint32_t held_[kD / 16][kM][4];
};

/// c = rows `a` times rows [0, 8 kN) of `b`, transposed. Unrolled, loads run ahead of products;
/// kUnroll is the most that spills no registers.
template <int kUnroll, class Rows, int kM, int kN, int kD>
__device__ void multiply_rows(float (&c)[kM][kN][4], const Rows& a, Tile<kD> b) {
  const auto right_down = LaneOffset<kD>::right_down();
  clear(c);
#pragma unroll kUnroll
  for (int k = 0; k < kD / 16; ++k) {
    std::uint32_t left[kM][4];
    a.load(left, k);
#pragma unroll
    for (int n = 0; n < kN; n += 2) {
      std::uint32_t right[4];
      device::load_matrices(right, right_down.in(b, 8 * n, 2 * k));
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        device::multiply_add(c[m][n], left[m], right[0], right[1]);
        device::multiply_add(c[m][n + 1], left[m], right[2], right[3]);
      }
    }
  }
}

/// Accumulators of 16 kM rows rounded to bf16, as the left operands of a product over their
/// columns: [m][n][half] holds two columns.
template <int kM, int kN>
using LeftOperands = std::uint32_t[kM][kN / 8][2];

/// c += p times rows [0, 8 kK) of `b`.
template <int kM, int kK, int kN, int kD>
__device__ void multiply_add_tile(float (&c)[kM][kN][4], const std::uint32_t (&p)[kM][kK][2],
                                  Tile<kD> b) {
  static_assert(kN * 8 == kD);
  const auto down_right = LaneOffset<kD>::down_right();
#pragma unroll
  for (int k = 0; k < kK; k += 2) {
    std::uint32_t left[kM][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) left[m][i] = p[m][k + i / 2][i % 2];
    }
#pragma unroll
    for (int n = 0; n < kN; n += 2) {
      std::uint32_t right[4];
      device::load_matrices_transposed(right, down_right.in(b, 8 * k, n));
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        device::multiply_add(c[m][n], left[m], right[0], right[1]);
        device::multiply_add(c[m][n + 1], left[m], right[2], right[3]);
      }
    }
  }
}

/// The place of a thread's accumulators: rows `row` + 16 m and that + 8, columns `column` + 8 n and
/// the one to the right.
struct Place {
  int row;
  int column;

  __device__ Place()
      : row((static_cast<int>(threadIdx.x) & 31) >> 2),
        column((static_cast<int>(threadIdx.x) & 3) * 2) {}
};

// Over the four lanes that share rows.
__device__ inline float quad_sum(float x) {
  x += __shfl_xor_sync(kAllLanes, x, 1);
  return x + __shfl_xor_sync(kAllLanes, x, 2);
}
__device__ inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, 1));
  return fmaxf(x, __shfl_xor_sync(kAllLanes, x, 2));
}

/// Rows [0, rows) of a warp's accumulators, row r times scale(r), to `to` as bf16. They go through
/// rows [tile_row, ...) of a tile that no other warp reads at this time, so that the stores to
/// global memory are of 16 bytes.
template <int kM, int kN, int kD, class Scale>
__device__ void store_rows(Bf16* to, int stride, int rows, int head_size,
                           const float (&c)[kM][kN][4], Tile<kD> tile, int tile_row,
                           const Scale& scale) {
  const Place place;
  const int lane = static_cast<int>(threadIdx.x) & 31;
  __syncwarp();
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = 16 * m + 8 * half + place.row;
      const float factor = scale(m, half);
#pragma unroll
      for (int n = 0; n < kN; ++n) {
        const std::uint32_t pair =
            device::pack_bf16(c[m][n][2 * half] * factor, c[m][n][2 * half + 1] * factor);
        *reinterpret_cast<std::uint32_t*>(tile.chunk(tile_row + row, n) + place.column) = pair;
      }
    }
  }
  __syncwarp();
  constexpr int kChunks = kD / 8;
  for (int i = lane; i < 16 * kM * kChunks; i += 32) {
    const int row = i / kChunks;
    const int c16 = i % kChunks;
    if (row < rows && c16 * 8 < head_size) {
      *reinterpret_cast<uint4*>(to + row * stride + c16 * 8) =
          *reinterpret_cast<const uint4*>(tile.chunk(tile_row + row, c16));
    }
  }
}

}  // namespace ssmax::kernels::cuda
