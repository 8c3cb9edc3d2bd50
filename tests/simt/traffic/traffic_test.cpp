#include "simt/traffic.h"

#include <gtest/gtest.h>

#include "device/arena.h"
#include "device/gpus.h"
#include "device/kernel_launch.cuh"
#include "device/ptx.cuh"
#include "device/shared_memory.cuh"
#include "device/vector_access.cuh"
#include "device/warp.cuh"

// The counters on kernels whose counts are known.

namespace ssmax::simt {
namespace {

using device::Bf16;
using device::launch_kernel;

constexpr std::int64_t kFloats = 4096;

class Traffic : public ::testing::Test {
 protected:
  Traffic() : stream_(device::gpu_device()), arena_(stream_.device()) {
    in_ = arena_.allocate("in", device::DType::f32, {kFloats}).data<float>();
    out_ = arena_.allocate("out", device::DType::f32, {kFloats}).data<float>();
  }

  template <auto kernel, class... Arguments>
  KernelTraffic count(unsigned threads, Arguments... arguments) {
    start_counting();
    launch_kernel<kernel>(stream_, {.grid = 1, .block = threads, .shared_bytes = 16384},
                          arguments...);
    const std::vector<KernelTraffic> kernels = stop_counting();
    EXPECT_EQ(kernels.size(), 1U);
    return kernels.at(0);
  }

  device::Stream stream_;
  device::Arena arena_;
  float* in_ = nullptr;
  float* out_ = nullptr;
};

template <int kCount, int kStride>
__global__ void copy_values(float* out, const float* in) {
  const unsigned i = threadIdx.x * kStride;
  device::store_values<kCount>(out + kCount * threadIdx.x, device::load_values<kCount>(in + i));
}

TEST_F(Traffic, NeighborsShareSectors) {
  const KernelTraffic floats = count<copy_values<1, 1>>(64, out_, in_);
  EXPECT_EQ(floats.loads.accesses, 2U);
  EXPECT_EQ(floats.loads.bytes, 256U);
  EXPECT_EQ(floats.loads.sectors, 8U);
  EXPECT_EQ(floats.stores.sectors, 8U);
  EXPECT_EQ(floats.moved(), 512U);
  const KernelTraffic packs = count<copy_values<4, 4>>(32, out_, in_);
  EXPECT_EQ(packs.loads.accesses, 1U);
  EXPECT_EQ(packs.loads.bytes, 512U);
  EXPECT_EQ(packs.loads.sectors, 16U);
}

TEST_F(Traffic, AStrideTakesASectorForEveryLane) {
  const KernelTraffic strided = count<copy_values<1, 8>>(32, out_, in_);
  EXPECT_EQ(strided.loads.sectors, 32U);
  EXPECT_EQ(strided.loads.bytes, 128U);
  EXPECT_EQ(strided.loads.coalescing(), 0.125);
  EXPECT_EQ(strided.stores.coalescing(), 1.0);
  // Two accesses of 16 bytes by each lane, 32 bytes from lane to lane.
  const KernelTraffic eights = count<copy_values<8, 8>>(32, out_, in_);
  EXPECT_EQ(eights.loads.accesses, 2U);
  EXPECT_EQ(eights.loads.coalescing(), 0.5);
  EXPECT_EQ(eights.asked(), 2 * eights.moved());
}

__global__ void read_one(float* out, const float* in) { out[threadIdx.x] = in[7]; }

TEST_F(Traffic, ABroadcastIsOneSector) {
  const KernelTraffic broadcast = count<read_one>(32, out_, in_);
  EXPECT_EQ(broadcast.loads.bytes, 4U);
  EXPECT_EQ(broadcast.loads.sectors, 1U);
}

/// Even lanes once, odd lanes twice.
__global__ void read_unevenly(float* out, const float* in) {
  float sum = 0.0F;
  for (unsigned i = 0; i <= threadIdx.x % 2; ++i) sum += in[32 * i + threadIdx.x];
  out[threadIdx.x] = sum;
}

TEST_F(Traffic, LanesThatLeaveALoopAreMissing) {
  const KernelTraffic uneven = count<read_unevenly>(32, out_, in_);
  EXPECT_EQ(uneven.loads.accesses, 2U);
  EXPECT_EQ(uneven.loads.bytes, 128U + 64U);
  EXPECT_EQ(uneven.loads.sectors, 8U);
}

__global__ void write_and_read(float* data, const float* in) {
  const unsigned i = threadIdx.x;
  data[i] = in[i] + in[31 - i];
  __syncthreads();
  data[32 + i] = data[31 - i];
}

TEST_F(Traffic, WhatIsReadAgainMovesOnce) {
  const KernelTraffic again = count<write_and_read>(32, out_, in_);
  EXPECT_EQ(again.loads.accesses, 3U);
  EXPECT_EQ(again.loads.distinct, 128U);
  EXPECT_EQ(again.stores.distinct, 256U);
  EXPECT_EQ(again.count("__syncthreads"), 1U);
}

template <int kCount, int kStride>
__global__ void write_shared() {
  auto* shared = device::dynamic_shared<float>();
  device::store_values<kCount>(shared + kStride * threadIdx.x, device::Values<kCount>{});
}

TEST_F(Traffic, BanksConflict) {
  const auto expect = [](const KernelTraffic& traffic, std::uint64_t wavefronts,
                         std::uint64_t ideal) {
    EXPECT_EQ(traffic.plain.wavefronts, wavefronts);
    EXPECT_EQ(traffic.plain.ideal, ideal);
    EXPECT_EQ(traffic.stores.accesses, 0U);
  };
  expect(count<write_shared<1, 1>>(32), 1, 1);
  expect(count<write_shared<1, 8>>(32), 8, 1);
  expect(count<write_shared<1, 33>>(32), 1, 1);
  expect(count<write_shared<1, 0>>(32), 1, 1);
  expect(count<write_shared<4, 4>>(32), 4, 4);
  expect(count<write_shared<4, 8>>(32), 8, 4);
  expect(count<write_shared<4, 12>>(32), 4, 4);
}

enum class Layout : unsigned char { plain, swizzled };

/// Lane l points to row l % 16 of 128 bytes, 16-byte column l / 16.
template <Layout kLayout>
__global__ void load_rows() {
  const unsigned row = threadIdx.x % 16;
  const unsigned column = threadIdx.x / 16;
  const unsigned place = kLayout == Layout::swizzled ? column ^ (row % 8) : column;
  std::uint32_t to[4];
  device::load_matrices(
      to, device::shared_address(device::dynamic_shared<Bf16>() + 64 * row + 8 * place));
}

TEST_F(Traffic, MatrixLoadsConflictUnlessSwizzled) {
  const KernelTraffic plain = count<load_rows<Layout::plain>>(32);
  EXPECT_EQ(plain.matrices.wavefronts, 32U);
  EXPECT_EQ(plain.matrices.ideal, 4U);
  const KernelTraffic swizzled = count<load_rows<Layout::swizzled>>(32);
  EXPECT_EQ(swizzled.matrices.wavefronts, 4U);
  EXPECT_EQ(swizzled.matrices.ideal, 4U);
  EXPECT_EQ(swizzled.count("ldmatrix"), 1U);
  EXPECT_EQ(swizzled.plain.ideal, 0U);
}

/// The last lane copies zeros, whose source is not read.
template <int kStride>
__global__ void copy_to_shared(const float* in) {
  const bool zeros = threadIdx.x == 31;
  device::copy_async_16(
      device::shared_address(device::dynamic_shared<float>() + kStride * threadIdx.x),
      in + 4 * threadIdx.x, zeros ? device::Fill::zero : device::Fill::source);
  device::copy_async_commit();
  device::copy_async_wait<0>();
}

TEST_F(Traffic, CopiesLoadAndStore) {
  const KernelTraffic copies = count<copy_to_shared<4>>(32, in_);
  EXPECT_EQ(copies.loads.bytes, 31U * 16U);
  EXPECT_EQ(copies.loads.sectors, 16U);
  EXPECT_EQ(copies.copies.wavefronts, 4U);
  EXPECT_EQ(copies.copies.ideal, 4U);
  EXPECT_EQ(count<copy_to_shared<8>>(32, in_).copies.wavefronts, 8U);
}

__global__ void multiply_and_sum(float* out) {
  float c[4] = {};
  const std::uint32_t a[4] = {};
  device::multiply_add(c, a, 0, 0);
  device::multiply_add(c, a, 0, 0);
  out[threadIdx.x] = device::exp2_approx(device::warp_sum(c[0]));
}

TEST_F(Traffic, OperationsAreCountedByWarps) {
  const KernelTraffic traffic = count<multiply_and_sum>(64, out_);
  EXPECT_EQ(traffic.count("mma"), 4U);
  EXPECT_EQ(traffic.count("__shfl_xor_sync"), 10U);
  EXPECT_EQ(traffic.exponentials, 64U);
}

}  // namespace
}  // namespace ssmax::simt
