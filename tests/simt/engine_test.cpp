#include "simt/engine.h"

#include <gtest/gtest.h>

#include <vector>

#include "device/arena.h"
#include "device/gpus.h"
#include "device/kernel_launch.cuh"
#include "device/shared_memory.cuh"
#include "device/vector_access.cuh"
#include "device/warp.cuh"

// The emulator must see what a GPU may hide.

namespace ssmax::simt {
namespace {

using device::launch_kernel;
using device::LaunchShape;

/// A device tensor of floats and what a kernel left in it.
class Floats {
 public:
  explicit Floats(std::int64_t count)
      : arena_({device::DeviceKind::cuda, 0}), stream_(arena_.device()) {
    tensor_ = arena_.allocate("floats", device::DType::f32, {count});
  }
  float* data() { return tensor_.data<float>(); }
  device::Stream& stream() { return stream_; }
  std::vector<float> read() {
    std::vector<float> values(static_cast<std::size_t>(tensor_.elements()));
    device::copy(stream_, device::view(values.data(), tensor_.shape()), tensor_);
    return values;
  }

 private:
  device::Arena arena_;
  device::Stream stream_;
  device::Tensor tensor_;
};

std::string violation(const std::function<void()>& work) {
  try {
    work();
  } catch (const base::Error& error) {
    return error.what();
  }
  return "no violation";
}

__global__ void number_threads(float* out) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = static_cast<float>(i);
}

TEST(Engine, RunsEveryThreadOnce) {
  Floats out(5 * 64);
  launch_kernel<number_threads>(out.stream(), {.grid = 5, .block = 64}, out.data());
  const std::vector<float> values = out.read();
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], static_cast<float>(i));
}

struct Reversal {
  float values[64];
};

template <bool kBarrier>
__global__ void reverse(float* out) {
  auto& shared = device::static_shared<Reversal>();
  shared.values[threadIdx.x] = static_cast<float>(threadIdx.x);
  if constexpr (kBarrier) __syncthreads();
  out[threadIdx.x] = shared.values[63 - threadIdx.x];
}

TEST(Engine, AMissingBarrierIsSeen) {
  Floats out(64);
  const auto is_reversed = [&] {
    const std::vector<float> values = out.read();
    for (std::size_t i = 0; i < 64; ++i) {
      if (values[i] != static_cast<float>(63 - i)) return false;
    }
    return true;
  };
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    set_seed(seed);
    launch_kernel<reverse<true>>(out.stream(), {.grid = 1, .block = 64}, out.data());
    EXPECT_TRUE(is_reversed()) << "seed " << seed;
    launch_kernel<reverse<false>>(out.stream(), {.grid = 1, .block = 64}, out.data());
    EXPECT_FALSE(is_reversed()) << "seed " << seed;
  }
  set_seed(1);
}

__global__ void barrier_for_some() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncwarp();
    __syncthreads();
  }
}

TEST(Engine, ABarrierInABranchIsSeen) {
  device::Stream stream({device::DeviceKind::cuda, 0});
  const std::string text =
      violation([&] { launch_kernel<barrier_for_some>(stream, {.grid = 1, .block = 64}); });
  EXPECT_NE(text.find("divergent block"), std::string::npos) << text;
}

__global__ void warp_barrier_for_some() {
  if (threadIdx.x != 5) __syncwarp();
  __syncthreads();
}

TEST(Engine, AWarpThatDoesNotMeetIsSeen) {
  device::Stream stream({device::DeviceKind::cuda, 0});
  const std::string text =
      violation([&] { launch_kernel<warp_barrier_for_some>(stream, {.grid = 1, .block = 32}); });
  EXPECT_NE(text.find("hangs"), std::string::npos) << text;
  EXPECT_NE(text.find("warp_barrier_for_some"), std::string::npos) << text;
}

__global__ void sums(float* out) {
  const float value = static_cast<float>(threadIdx.x + 1);
  const float warp = device::warp_sum(value);
  const float block = device::block_sum(value);
  const float most = device::block_max(value);
  out[threadIdx.x] = warp + 1000.0F * block + 1e7F * most;
}

TEST(Engine, WarpAndBlockReductions) {
  Floats out(96);
  launch_kernel<sums>(out.stream(), {.grid = 1, .block = 96}, out.data());
  const std::vector<float> values = out.read();
  for (unsigned i = 0; i < 96; ++i) {
    const float first = static_cast<float>(i / 32 * 32 + 1);
    const float warp = 32.0F * first + 496.0F;
    EXPECT_EQ(values[i], warp + 1000.0F * 4656.0F + 1e7F * 96.0F);
  }
}

__global__ void divergent_shuffle(float* out) {
  const float value = static_cast<float>(threadIdx.x);
  if (threadIdx.x % 2 == 0) {
    out[threadIdx.x] = __shfl_xor_sync(0xffffffffU, value, 1);
  } else {
    out[threadIdx.x] = __shfl_xor_sync(0xffffffffU, value, 1);
  }
}

__global__ void shuffle_of_others(float* out) {
  if (threadIdx.x < 16) {
    out[threadIdx.x] = __shfl_sync(0x0000ffffU, static_cast<float>(threadIdx.x), 20);
  }
}

TEST(Engine, ADivergentShuffleIsSeen) {
  Floats out(32);
  const std::string divergent = violation([&] {
    launch_kernel<divergent_shuffle>(out.stream(), {.grid = 1, .block = 32}, out.data());
  });
  EXPECT_NE(divergent.find("divergent"), std::string::npos) << divergent;
  const std::string others = violation([&] {
    launch_kernel<shuffle_of_others>(out.stream(), {.grid = 1, .block = 32}, out.data());
  });
  EXPECT_NE(others.find("not in its mask"), std::string::npos) << others;
}

__global__ void shuffles(float* out) {
  const auto value = static_cast<float>(threadIdx.x);
  out[threadIdx.x] = __shfl_sync(0xffffffffU, value, 3);
  out[32 + threadIdx.x] = __shfl_up_sync(0xffffffffU, value, 2);
  out[64 + threadIdx.x] = __shfl_down_sync(0xffffffffU, value, 2, 16);
  const unsigned votes = __ballot_sync(0xffffffffU, threadIdx.x % 3 == 0);
  out[96 + threadIdx.x] = static_cast<float>(__popc(votes));
}

TEST(Engine, ShufflesAndVotes) {
  Floats out(128);
  launch_kernel<shuffles>(out.stream(), {.grid = 1, .block = 32}, out.data());
  const std::vector<float> values = out.read();
  for (std::size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(values[i], 3.0F);
    EXPECT_EQ(values[32 + i], static_cast<float>(i < 2 ? i : i - 2));
    EXPECT_EQ(values[64 + i], static_cast<float>(i % 16 < 14 ? i + 2 : i));
    EXPECT_EQ(values[96 + i], 11.0F);
  }
}

template <bool kWait>
__global__ void copy_through_shared(float* out, const float* in) {
  auto* shared = device::dynamic_shared<float>();
  copy_async(shared + 4 * threadIdx.x, in + 4 * threadIdx.x, 16);
  commit_copies();
  if constexpr (kWait) wait_copies(0);
  for (unsigned i = 0; i < 4; ++i) out[4 * threadIdx.x + i] = shared[4 * threadIdx.x + i];
  wait_copies(0);
}

TEST(Engine, AMissingWaitForCopiesIsSeen) {
  Floats in(128);
  Floats out(128);
  const LaunchShape shape{.grid = 1, .block = 32, .shared_bytes = 512};
  launch_kernel<copy_through_shared<true>>(out.stream(), shape, out.data(), in.data());
  for (const float value : out.read()) EXPECT_EQ(value, 0.0F);
  launch_kernel<copy_through_shared<false>>(out.stream(), shape, out.data(), in.data());
  for (const float value : out.read()) EXPECT_TRUE(std::isnan(value));
}

__global__ void copy_and_leave(const float* in) {
  copy_async(device::dynamic_shared<float>() + 4 * threadIdx.x, in + 4 * threadIdx.x, 16);
}

TEST(Engine, CopiesThatNobodyWaitsForAreSeen) {
  Floats in(128);
  const std::string text = violation([&] {
    launch_kernel<copy_and_leave>(in.stream(), {.grid = 1, .block = 32, .shared_bytes = 512},
                                  in.data());
  });
  EXPECT_NE(text.find("cp.async"), std::string::npos) << text;
}

__global__ void read_shared(float* out) {
  out[threadIdx.x] = device::dynamic_shared<float>()[threadIdx.x];
}

TEST(Engine, SharedMemoryStartsPoisonedInEveryBlock) {
  Floats out(32);
  launch_kernel<read_shared>(out.stream(), {.grid = 2, .block = 32, .shared_bytes = 128},
                             out.data());
  for (const float value : out.read()) EXPECT_TRUE(std::isnan(value));
}

__global__ void touch(float* out, std::int64_t index) { out[index] = 1.0F; }
__global__ void touch_shared(std::int64_t index) { device::dynamic_shared<float>()[index] = 1.0F; }

TEST(EngineDeathTest, AccessesOutOfBoundsAreSeen) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Floats out(100);
  // Shared memory is aligned to 256 bytes: that much may lie between its end and the guard.
  const LaunchShape one{.grid = 1, .block = 32, .shared_bytes = 256};
  launch_kernel<touch>(out.stream(), one, out.data(), std::int64_t{99});
  launch_kernel<touch_shared>(out.stream(), one, std::int64_t{63});
  EXPECT_DEATH(launch_kernel<touch>(out.stream(), one, out.data(), std::int64_t{100}),
               "block \\(0, 0, 0\\), thread .* out of bounds, at byte 400 of an allocation of 400");
  EXPECT_DEATH(launch_kernel<touch>(out.stream(), one, out.data(), std::int64_t{-1000}),
               "out of bounds");
  EXPECT_DEATH(launch_kernel<touch_shared>(out.stream(), one, std::int64_t{64}), "out of bounds");
}

__global__ void copy_four(float* to, const float* from) {
  if (threadIdx.x == 0) device::store_values<4>(to, device::load_values<4>(from));
}

TEST(EngineDeathTest, AddressesThatAreNoMultiplesAreSeen) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Floats out(12);
  const LaunchShape one{.grid = 1, .block = 32};
  launch_kernel<copy_four>(out.stream(), one, out.data() + 4, out.data());
  EXPECT_DEATH(launch_kernel<copy_four>(out.stream(), one, out.data() + 4, out.data() + 1),
               "block \\(0, 0, 0\\), thread \\(0, 0, 0\\): an access at an address");
  EXPECT_DEATH(launch_kernel<copy_four>(out.stream(), one, out.data() + 2, out.data() + 4),
               "an access at an address");
}

TEST(EngineDeathTest, TheHostMayNotTouchDeviceMemory) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Floats out(100);
  EXPECT_DEATH(out.data()[3] = 1.0F, "the host touched device memory, at byte 12");
}

TEST(Engine, RefusesShapesThatAGpuRefuses) {
  Floats out(32);
  EXPECT_NE(violation([&] {
              launch_kernel<number_threads>(out.stream(), {.grid = 1, .block = 2048}, out.data());
            }).find("2048 threads"),
            std::string::npos);
}

struct Kilobyte {
  float values[256];
};
__global__ void touch_both(float* out) {
  auto& fixed = device::static_shared<Kilobyte>();
  float* dynamic = device::dynamic_shared<float>();
  fixed.values[threadIdx.x] = dynamic[threadIdx.x] = 1.0F;
  out[threadIdx.x] = fixed.values[threadIdx.x];
}

TEST(Engine, RefusesSharedMemoryThatAGpuHasNot) {
  Floats out(32);
  const auto launch = [&](std::int64_t bytes) {
    return violation([&] {
      launch_kernel<touch_both>(out.stream(), {.grid = 1, .block = 32, .shared_bytes = bytes},
                                out.data());
    });
  };
  EXPECT_EQ(launch(48 << 10), "no violation");
  EXPECT_EQ(launch(226 << 10), "no violation");
  EXPECT_NE(launch((226 << 10) + 16).find("no room for 1024 bytes of static"), std::string::npos);
  EXPECT_NE(launch((227 << 10) + 16).find("this GPU gives 232448"), std::string::npos);
}

TEST(Engine, FindsTheEmulatedDevice) {
  ASSERT_EQ(device::gpus().found.size(), 1U);
  EXPECT_EQ(device::gpus().found[0].name, "emulated device");
  EXPECT_THROW(device::gpu_device(1), base::Error);
}

}  // namespace
}  // namespace ssmax::simt
