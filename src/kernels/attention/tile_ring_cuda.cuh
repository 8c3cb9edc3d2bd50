#pragma once

#include <algorithm>

#include "device/warpgroup.cuh"
#include "kernels/attention/tile_cuda.cuh"

/// Tiles that the tensor memory accelerator copies for the passes by warpgroups.
namespace ssmax::kernels::cuda {

/// The block's dynamic shared memory from where a tile may begin; of it, kTileAlignment bytes less
/// than the launch gives are sure.
__device__ inline unsigned char* aligned_shared() {
  auto* memory = device::dynamic_shared<unsigned char>();
  const unsigned beyond = device::shared_address(memory) % device::kTileAlignment;
  return memory + (device::kTileAlignment - beyond) % device::kTileAlignment;
}

/// Tiles of kRows rows in shared memory, filled and read by turns. Heads of more than 64 lie as
/// boxes of 64 columns behind each other.
template <int kRows, int kD, int kStages, int kReaders>
class TileRing {
 public:
  static constexpr int kHeadSize = kD;
  static constexpr int kBoxBytes = kRows * device::kTileRowBytes;
  static constexpr int kTileBytes = kD / 64 * kBoxBytes;
  static constexpr int kBytes = kStages * kTileBytes;
  static constexpr int kBarrierBytes = 2 * kStages * 8;

  __device__ TileRing(device::SharedAddress tiles, device::SharedAddress barriers)
      : tiles_(tiles), barriers_(barriers) {}

  /// One thread.
  __device__ void init() const {
    for (int stage = 0; stage < kStages; ++stage) {
      device::barrier_init(full(stage), 1);
      device::barrier_init(empty(stage), kReaders);
    }
  }

  /// Who fills: until nobody reads the tile that the i-th takes the place of.
  __device__ void wait_empty(int i) const { device::barrier_wait(empty(i), parity(i) ^ 1); }
  /// The copying thread, then: the i-th tile is rows [row, row + kRows) of a head. `more` bytes
  /// that it copies beside the tile count at full(i).
  __device__ void fill(int i, const device::TensorMap& map, int b, int row, int h,
                       int more = 0) const {
    device::barrier_arrive_expecting(full(i), kTileBytes + more);
#pragma unroll
    for (int box = 0; box < kD / 64; ++box) {
      device::copy_box_async(tile(i) + box * kBoxBytes, map, 64 * box, h, row, b, full(i));
    }
  }
  __device__ device::BarrierAddress full(int i) const { return barriers_ + i % kStages * 8; }

  /// A reading warp: until the i-th tile is there.
  __device__ void wait(int i) const { device::barrier_wait(full(i), parity(i)); }
  /// A reading warp: it reads the i-th tile no more.
  __device__ void release(int i) const {
    if (device::lane_id() == 0) device::barrier_arrive(empty(i));
  }
  __device__ device::SharedAddress tile(int i) const { return tiles_ + i % kStages * kTileBytes; }

 private:
  __device__ device::BarrierAddress empty(int i) const { return full(i) + kStages * 8; }
  __device__ static int parity(int i) { return i / kStages & 1; }

  device::SharedAddress tiles_;
  device::SharedAddress barriers_;
};

/// c = the rows of `a`, a tile of ring A, times those of `b`, one of ring B, transposed. Between
/// products_begin and products_commit.
template <class A, class B, int kN>
__device__ void start_rows_by_rows(float (&c)[kN][4], device::MatrixDescriptor a,
                                   device::MatrixDescriptor b) {
  static_assert(A::kHeadSize == B::kHeadSize);
#pragma unroll
  for (int k = 0; k < A::kHeadSize / 16; ++k) {
    const int within = k % 4 * 32;
    device::multiply_async(c, a.at(k / 4 * A::kBoxBytes + within),
                           b.at(k / 4 * B::kBoxBytes + within),
                           k == 0 ? device::Sums::begin : device::Sums::add);
  }
}

/// c += p times rows [0, 8 kK) of `b`, likewise.
template <int kN, int kK>
__device__ void start_weighted_rows(float (&c)[kN][4], const std::uint32_t (&p)[kK][2],
                                    device::MatrixDescriptor b) {
#pragma unroll
  for (int k = 0; k < kK; k += 2) {
    const std::uint32_t left[4] = {p[k][0], p[k][1], p[k + 1][0], p[k + 1][1]};
    device::multiply_async(c, left, b.at(k * 8 * device::kTileRowBytes), device::Sums::add);
  }
}

/// A block of kWorkers threads that work() and a warpgroup of which one warp copies: copy(). They
/// share the registers of 168 for a thread out anew; copying needs few.
template <int kWorkers, class Work, class Copy>
__device__ void work_and_copy(const Work& work, const Copy& copy) {
  const int thread = static_cast<int>(threadIdx.x);
  if (thread >= kWorkers) {
    device::give_registers_back<24>();
    if (thread < kWorkers + device::kWarpSize) copy();
  } else {
    device::take_registers<240>();
    work();
  }
}

/// The first `rows` of every head, in tiles of tile_rows.
inline device::TensorMap map_of(const ConstHeadsView& view, std::int64_t rows, int tile_rows) {
  return device::tensor_map({view.at<Bf16>(0, 0, 0), view.batch, rows, view.heads, view.head_size,
                             view.batch_stride, view.time_stride, view.head_size},
                            tile_rows);
}

/// Keys that some query sees; those behind may never have been written: out of the map they are 0.
inline std::int64_t used_keys(const AttentionInputs& inputs) {
  return std::min(inputs.k.time, inputs.first_position + inputs.q.time);
}

}  // namespace ssmax::kernels::cuda
