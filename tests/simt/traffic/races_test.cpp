#include "simt/races.h"

#include <gtest/gtest.h>

#include "device/arena.h"
#include "device/gpus.h"
#include "device/kernel_launch.cuh"
#include "device/ptx.cuh"
#include "device/shared_memory.cuh"
#include "device/warp.cuh"

// Races that the order of fibers hides, and kernels that look like races and are none.

namespace ssmax::simt {
namespace {

using device::launch_kernel;

class Races : public ::testing::Test {
 protected:
  Races() : stream_(device::gpu_device()), arena_(stream_.device()) {
    data_ = arena_.allocate("data", device::DType::f32, {4096}).data<float>();
  }

  /// What a launch of two blocks is told, or nothing.
  template <auto kernel>
  std::string found() {
    try {
      check_races([&] {
        launch_kernel<kernel>(stream_, {.grid = 2, .block = 64, .shared_bytes = 4096}, data_);
      });
    } catch (const base::Error& error) {
      return error.what();
    }
    return "";
  }
  template <auto kernel>
  void expect_race(const std::string& text) {
    const std::string race = found<kernel>();
    EXPECT_NE(race.find("race"), std::string::npos) << "no race with: " << text;
    EXPECT_NE(race.find(text), std::string::npos) << race;
  }

  device::Stream stream_;
  device::Arena arena_;
  float* data_ = nullptr;
};

enum class Between : unsigned char { shuffle, warp_barrier, block_barrier };

template <Between kBetween>
__device__ void pass() {
  if constexpr (kBetween == Between::shuffle) (void)device::warp_sum(1.0F);
  if constexpr (kBetween == Between::warp_barrier) __syncwarp();
  if constexpr (kBetween == Between::block_barrier) __syncthreads();
}

/// Every thread stores, and reads what its neighbor `kDistance` on has stored.
template <Between kBetween, int kDistance>
__global__ void read_a_neighbor(float* out) {
  auto* shared = device::dynamic_shared<float>();
  shared[threadIdx.x] = 1.0F;
  pass<kBetween>();
  out[64 * blockIdx.x + threadIdx.x] = shared[threadIdx.x ^ kDistance];
}

TEST_F(Races, AShuffleOrdersNothing) {
  expect_race<read_a_neighbor<Between::shuffle, 1>>("in shared memory");
  EXPECT_EQ((found<read_a_neighbor<Between::warp_barrier, 1>>()), "");
  EXPECT_EQ((found<read_a_neighbor<Between::block_barrier, 1>>()), "");
  EXPECT_EQ((found<read_a_neighbor<Between::shuffle, 0>>()), "");
}

TEST_F(Races, ABarrierOfTheWarpOrdersNoOtherWarp) {
  expect_race<read_a_neighbor<Between::warp_barrier, 32>>("has written there");
  EXPECT_EQ((found<read_a_neighbor<Between::block_barrier, 32>>()), "");
}

/// Every thread reads what its neighbor then overwrites.
template <Between kBetween, int kDistance>
__global__ void overwrite_a_neighbor(float* out) {
  auto* shared = device::dynamic_shared<float>();
  shared[threadIdx.x] = 1.0F;
  __syncthreads();
  const float value = shared[threadIdx.x];
  pass<kBetween>();
  shared[threadIdx.x ^ kDistance] = value;
  out[64 * blockIdx.x + threadIdx.x] = value;
}

TEST_F(Races, WhatIsReadMayNotBeOverwrittenYet) {
  expect_race<overwrite_a_neighbor<Between::shuffle, 1>>("has read there");
  EXPECT_EQ((found<overwrite_a_neighbor<Between::warp_barrier, 1>>()), "");
  expect_race<overwrite_a_neighbor<Between::warp_barrier, 32>>("has read there");
  EXPECT_EQ((found<overwrite_a_neighbor<Between::block_barrier, 32>>()), "");
}

/// All threads read a value, warp after warp with a barrier of its own; then one overwrites it.
__global__ void overwrite_what_all_read(float* out) {
  auto* shared = device::dynamic_shared<float>();
  if (threadIdx.x == 0) shared[0] = 1.0F;
  __syncthreads();
  float sum = shared[0];
  __syncwarp();
  sum += shared[0];
  __syncwarp();
  if (threadIdx.x == 0) shared[0] = 2.0F;
  out[64 * blockIdx.x + threadIdx.x] = sum;
}

TEST_F(Races, ReadersOfOtherWarpsCount) { expect_race<overwrite_what_all_read>("has read there"); }

__global__ void write_the_same(float* out) { out[0] = 1.0F; }
__global__ void write_one_in_each_block(float* out) {
  if (threadIdx.x == 0) out[0] = static_cast<float>(blockIdx.x);
}
__global__ void read_what_a_block_writes(float* out) {
  const float value = out[threadIdx.x];
  out[64 * (1 + blockIdx.x) + threadIdx.x] = value;
  if (blockIdx.x == 1) out[threadIdx.x] = value + 1.0F;
}

TEST_F(Races, NothingOrdersBlocks) {
  expect_race<write_the_same>("in global memory");
  expect_race<write_one_in_each_block>("has written there");
  expect_race<read_what_a_block_writes>("in global memory");
}

enum class Copied : unsigned char { is_waited_for, is_waited_for_by_all, is_under_way };

/// Every thread copies 16 bytes and reads the first of those of its neighbor, or its own.
template <Copied kCopied, int kDistance>
__global__ void copy_and_read(float* data) {
  auto* shared = device::dynamic_shared<float>();
  device::copy_async_16(device::shared_address(shared + 4 * threadIdx.x), data + 4 * threadIdx.x,
                        device::Fill::source);
  device::copy_async_commit();
  if constexpr (kCopied != Copied::is_under_way) device::copy_async_wait<0>();
  if constexpr (kCopied != Copied::is_waited_for) __syncthreads();
  data[1024 + 64 * blockIdx.x + threadIdx.x] = shared[4 * (threadIdx.x ^ kDistance)];
  device::copy_async_wait<0>();
}

TEST_F(Races, CopiesAreThereForTheirThreadAtTheWaitAndForAllAtTheBarrier) {
  EXPECT_EQ((found<copy_and_read<Copied::is_waited_for, 0>>()), "");
  EXPECT_EQ((found<copy_and_read<Copied::is_waited_for_by_all, 33>>()), "");
  expect_race<copy_and_read<Copied::is_waited_for, 1>>("in shared memory");
  expect_race<copy_and_read<Copied::is_under_way, 1>>("has not waited for it");
}

/// Refills what the other warp may still be reading.
__global__ void refill_too_early(float* data) {
  auto* shared = device::dynamic_shared<float>();
  for (unsigned i = 0; i < 2; ++i) {
    device::copy_async_16(device::shared_address(shared + 4 * threadIdx.x),
                          data + 256 * i + 4 * threadIdx.x, device::Fill::source);
    device::copy_async_commit();
    device::copy_async_wait<0>();
    __syncthreads();
    data[1024 + 64 * blockIdx.x + threadIdx.x] = shared[4 * (threadIdx.x ^ 32)];
  }
}

TEST_F(Races, AStageMayNotBeRefilledWhileOthersReadIt) {
  expect_race<refill_too_early>("in shared memory");
}

/// Every lane writes the row that it points to.
template <Between kBetween>
__global__ void load_rows(float* out) {
  auto* shared = device::dynamic_shared<float>();
  float* row = shared + 4 * threadIdx.x;
  for (int i = 0; i < 4; ++i) row[i] = 1.0F;
  pass<kBetween>();
  std::uint32_t to[4];
  device::load_matrices(to, device::shared_address(row));
  out[64 * blockIdx.x + threadIdx.x] = static_cast<float>(to[0]);
}

TEST_F(Races, AllLanesReadWhatIsLoadedAsAMatrix) {
  expect_race<load_rows<Between::shuffle>>("has written there");
  EXPECT_EQ(found<load_rows<Between::warp_barrier>>(), "");
}

}  // namespace
}  // namespace ssmax::simt
