#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "device/arena.h"
#include "device/gpus.h"
#include "device/kernel_launch.cuh"
#include "device/shared_memory.cuh"
#include "device/warp.cuh"
#include "device/warpgroup.cuh"

/// Products of warpgroups on tiles that were copied as boxes; with faults that a GPU may hide.
namespace ssmax::device {

constexpr int kRows = 128;
constexpr int kBoxBytes = kRows * kTileRowBytes;

enum class Fault : unsigned char {
  none,
  no_wait_for_copies,
  no_wait_for_products,
  no_begin,
  no_barriers_ready,
  overwritten,      // the tile is copied again while products read it
  one_warp_absent,  // of a product
};

struct Arguments {
  TensorMap a;
  TensorMap b;
  float* c;
};

/// Where a thread's sums lie in c (64, 8 kN).
template <int kN>
__device__ void store(float* c, const float (&sums)[kN][4]) {
  const int row = warp_id() * 16 + lane_id() / 4;
  const int column = 2 * (lane_id() % 4);
  for (int n = 0; n < kN; ++n) {
    for (int i = 0; i < 4; ++i) {
      c[(row + i / 2 * 8) * 8 * kN + 8 * n + column + i % 2] = sums[n][i];
    }
  }
}

__device__ unsigned char* aligned_tiles() {
  auto* memory = dynamic_shared<unsigned char>();
  const auto beyond = shared_address(memory) % kTileAlignment;
  return memory + (kTileAlignment - beyond) % kTileAlignment;
}

/// The 64 rows from `a`'s row 64, 64 columns, times b's first 8 kN rows, transposed.
template <int kN, Fault kFault>
__device__ void multiply_by_rows(const Arguments& arguments) {
  unsigned char* tiles = aligned_tiles();
  const SharedAddress a = shared_address(tiles);
  const SharedAddress b = a + kBoxBytes;
  const BarrierAddress barrier = b + kBoxBytes;
  if (threadIdx.x == 0) {
    barrier_init(barrier, 1);
    if constexpr (kFault != Fault::no_barriers_ready) barriers_ready();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    barrier_arrive_expecting(barrier, 2 * kBoxBytes);
    copy_box_async(a, arguments.a, 0, 1, 0, 0, barrier);
    copy_box_async(b, arguments.b, 0, 0, 5, 1, barrier);
  }
  if constexpr (kFault != Fault::no_wait_for_copies) barrier_wait(barrier, 0);
  float c[kN][4];
  if constexpr (kFault != Fault::no_begin) products_begin();
  for (int k = 0; k < 4; ++k) {
    if (kFault == Fault::one_warp_absent && k == 1 && warp_id() == 2) continue;
    multiply_async(c, matrix_descriptor(a + 64 * kTileRowBytes).at(32 * k),
                   matrix_descriptor(b).at(32 * k), k == 0 ? Sums::begin : Sums::add);
  }
  products_commit();
  if constexpr (kFault == Fault::overwritten) {
    __syncthreads();  // nobody waits for the first phase any more
    if (threadIdx.x == 0) {
      barrier_arrive_expecting(barrier, kBoxBytes);
      copy_box_async(b, arguments.b, 0, 0, 5, 1, barrier);
    }
  }
  if constexpr (kFault != Fault::no_wait_for_products) products_wait<0>();
  store(arguments.c, c);
  if constexpr (kFault == Fault::overwritten) barrier_wait(barrier, 1);
  products_wait<0>();
  if constexpr (kFault == Fault::no_wait_for_copies) barrier_wait(barrier, 0);
}

/// Ones (64, 32), as left operands in registers, of which element (i, k) is i + 1 if k is 17, else
/// 0, times rows [0, 32) of b's boxes side by side: row 17 times i + 1.
template <int kN>
__device__ void multiply_by_columns(const Arguments& arguments) {
  unsigned char* tiles = aligned_tiles();
  const SharedAddress b = shared_address(tiles);
  const BarrierAddress barrier = b + 2 * kBoxBytes;
  if (threadIdx.x == 0) {
    barrier_init(barrier, 1);
    barriers_ready();
    barrier_arrive_expecting(barrier, kN / 8 * kBoxBytes);
    for (int box = 0; box < kN / 8; ++box) {
      copy_box_async(b + box * kBoxBytes, arguments.b, 64 * box, 2, 3, 0, barrier);
    }
  }
  __syncthreads();
  barrier_wait(barrier, 0);
  float c[kN][4];
  for (int n = 0; n < kN; ++n) {
    for (int i = 0; i < 4; ++i) c[n][i] = 0.5F;
  }
  const int row = warp_id() * 16 + lane_id() / 4;
  std::uint32_t a[2][4];
  for (int k = 0; k < 2; ++k) {
    for (int i = 0; i < 4; ++i) {
      // Two columns of a register, the odd one in the upper half.
      const int column = 16 * k + 2 * (lane_id() % 4) + i / 2 * 8;
      const auto value = static_cast<float>(row + i % 2 * 8 + 1);
      a[k][i] = pack_bf16(column == 17 ? value : 0.0F, column + 1 == 17 ? value : 0.0F);
    }
  }
  products_begin();
  for (int k = 0; k < 2; ++k) {
    multiply_async(c, a[k], matrix_descriptor(b, kBoxBytes).at(k * 16 * kTileRowBytes), Sums::add);
  }
  products_commit();
  products_wait<0>();
  store(arguments.c, c);
}

/// Columns of a's rows from 0 times columns of b's from 7, over 32 rows.
template <int kN>
__device__ void multiply_columns(const Arguments& arguments) {
  unsigned char* tiles = aligned_tiles();
  const SharedAddress a = shared_address(tiles);
  const SharedAddress b = a + kBoxBytes;
  const BarrierAddress barrier = b + kBoxBytes;
  if (threadIdx.x == 0) {
    barrier_init(barrier, 1);
    barriers_ready();
    barrier_arrive_expecting(barrier, 2 * kBoxBytes);
    copy_box_async(a, arguments.a, 0, 1, 0, 0, barrier);
    copy_box_async(b, arguments.b, 0, 2, 7, 1, barrier);
  }
  __syncthreads();
  barrier_wait(barrier, 0);
  float c[kN][4];
  products_begin();
  for (int k = 0; k < 2; ++k) {
    const int bytes = k * 16 * kTileRowBytes;
    multiply_columns_async(c, matrix_descriptor(a).at(bytes), matrix_descriptor(b).at(bytes),
                           k == 0 ? Sums::begin : Sums::add);
  }
  products_commit();
  products_wait<0>();
  store(arguments.c, c);
}

/// The first 32 bytes of b's tensor, and 16 from its eighth element on, to c.
__device__ inline void copy_plain_bytes(const Arguments& arguments, const Bf16* from) {
  unsigned char* memory = aligned_tiles();
  const SharedAddress to = shared_address(memory);
  const BarrierAddress barrier = to + 64;
  if (threadIdx.x == 0) {
    barrier_init(barrier, 1);
    barriers_ready();
    barrier_arrive_expecting(barrier, 48);
    copy_bytes_async(to, from, 32, barrier);
    copy_bytes_async(to + 32, from + 8, 16, barrier);
  }
  __syncthreads();
  barrier_wait(barrier, 0);
  if (threadIdx.x < 24) {
    arguments.c[threadIdx.x] =
        static_cast<float>(reinterpret_cast<const Bf16*>(memory)[threadIdx.x]);
  }
}

template <int kN, Fault kFault>
__global__ void rows_times_rows(const __grid_constant__ Arguments arguments) {
  if constexpr (kHasWarpgroups) multiply_by_rows<kN, kFault>(arguments);
}
template <int kN>
__global__ void registers_times_columns(const __grid_constant__ Arguments arguments) {
  if constexpr (kHasWarpgroups) multiply_by_columns<kN>(arguments);
}

template <int kN>
__global__ void columns_times_columns(const __grid_constant__ Arguments arguments) {
  if constexpr (kHasWarpgroups) multiply_columns<kN>(arguments);
}
template <class T>
__global__ void plain_bytes(const __grid_constant__ Arguments arguments, const T* from) {
  if constexpr (kHasWarpgroups) copy_plain_bytes(arguments, from);
}

/// (sequences, rows, heads, columns), and the kernel's result.
class Warpgroup : public testing::Test {
 protected:
  static constexpr std::int64_t kSequences = 2;
  static constexpr std::int64_t kTensorRows = 130;
  static constexpr std::int64_t kHeads = 3;
  static constexpr std::int64_t kColumns = 72;

  void SetUp() override {
    if (gpus().found.empty()) GTEST_SKIP() << gpus().reason;
    if (gpus().found[0].capability_major != 9) GTEST_SKIP() << "compute capability 9.0 only";
    arena_.emplace(gpu_device());
    stream_.emplace(gpu_device());
    std::vector<Bf16> elements;
    for (std::int64_t i = 0; i < kSequences * kTensorRows * kHeads * kColumns; ++i) {
      values_.push_back(
          static_cast<double>(Bf16(base::random_normal(7, 0, static_cast<std::uint64_t>(i)))));
      elements.emplace_back(values_.back());
    }
    tensor_ = arena_->allocate("x", DType::bf16, {static_cast<std::int64_t>(elements.size())});
    copy(*stream_, tensor_,
         ConstTensor(elements.data(), DType::bf16, tensor_.shape(), Device{DeviceKind::cpu, 0}));
    result_ = arena_->allocate("c", DType::f32, {64, 128});
  }

  /// 0 outside of the tensor.
  double at(std::int64_t sequence, std::int64_t row, std::int64_t head, std::int64_t column) const {
    if (row >= kTensorRows || column >= kColumns) return 0.0;
    return values_[static_cast<std::size_t>(
        ((sequence * kTensorRows + row) * kHeads + head) * kColumns + column)];
  }

  template <auto kernel, class... More>
  std::vector<float> run(const More&... more) {
    const MappedTensor x{tensor_.data<Bf16>(),
                         kSequences,
                         kTensorRows,
                         kHeads,
                         kColumns,
                         kTensorRows * kHeads * kColumns,
                         kHeads * kColumns,
                         kColumns};
    const TensorMap map = tensor_map(x, kRows);
    fill_zero(*stream_, result_);
    launch_kernel<kernel>(
        *stream_,
        {.grid = 1, .block = kWarpgroupSize, .shared_bytes = kTileAlignment + 2 * kBoxBytes + 64},
        Arguments{map, map, result_.data<float>()}, more...);
    std::vector<float> values(static_cast<std::size_t>(result_.elements()));
    copy(*stream_, view(values.data(), result_.shape()), result_);
    return values;
  }

  template <auto kernel>
  std::string violation() {
    try {
      run<kernel>();
    } catch (const base::Error& error) {
      return error.what();
    }
    return "no violation";
  }

  std::vector<double> values_;
  // Made where there is a GPU.
  std::optional<Arena> arena_;
  std::optional<Stream> stream_;
  Tensor tensor_;
  Tensor result_;
};

}  // namespace ssmax::device
