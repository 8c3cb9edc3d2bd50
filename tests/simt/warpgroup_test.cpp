#include <algorithm>
#include <cmath>
#include <string>

#include "support/warpgroup_case.cuh"

// What the emulator must see of work that is under way.

namespace ssmax::device {
namespace {

TEST_F(Warpgroup, UnfinishedWorkIsSeen) {
  for (const auto& c : {run<rows_times_rows<16, Fault::no_wait_for_copies>>(),
                        run<rows_times_rows<16, Fault::no_wait_for_products>>(),
                        run<rows_times_rows<16, Fault::overwritten>>()}) {
    EXPECT_TRUE(std::any_of(c.begin(), c.end(), [](float x) { return std::isnan(x); }));
  }
}

TEST_F(Warpgroup, MissingFencesAreSeen) {
  EXPECT_NE((violation<rows_times_rows<16, Fault::no_begin>>()).find("products_begin"),
            std::string::npos);
  EXPECT_NE((violation<rows_times_rows<16, Fault::no_barriers_ready>>()).find("barriers_ready"),
            std::string::npos);
}

TEST_F(Warpgroup, AWarpThatIsAbsentIsSeen) {
  EXPECT_NE((violation<rows_times_rows<16, Fault::one_warp_absent>>()).find("different products"),
            std::string::npos);
}

__global__ void wait_for_nobody() {
  const BarrierAddress barrier = shared_address(dynamic_shared<unsigned char>());
  if (threadIdx.x == 0) {
    barrier_init(barrier, 2);
    barriers_ready();
  }
  __syncthreads();
  if (threadIdx.x == 0) barrier_arrive(barrier);
  barrier_wait(barrier, 0);
}

TEST_F(Warpgroup, ABarrierThatNeverPassesIsSeen) {
  try {
    launch_kernel<wait_for_nobody>(*stream_, {.grid = 1, .block = 32, .shared_bytes = 64});
    FAIL() << "no violation";
  } catch (const base::Error& error) {
    EXPECT_NE(std::string(error.what()).find("mbarrier"), std::string::npos) << error.what();
  }
}

__global__ void meet_in_halves(float* out) {
  auto* shared = dynamic_shared<float>();
  const int half = warp_id() / 2;
  shared[threadIdx.x] = static_cast<float>(threadIdx.x);
  partial_barrier<64>(1 + half);
  out[threadIdx.x] = shared[threadIdx.x ^ 63U];
}

TEST_F(Warpgroup, HalvesOfABlockMeetByThemselves) {
  for (int repeat = 0; repeat < 10; ++repeat) {
    launch_kernel<meet_in_halves>(*stream_, {.grid = 1, .block = 128, .shared_bytes = 512},
                                  result_.data<float>());
    std::vector<float> values(static_cast<std::size_t>(result_.elements()));
    copy(*stream_, view(values.data(), result_.shape()), result_);
    for (std::size_t i = 0; i < 128; ++i) ASSERT_EQ(values[i], static_cast<float>(i ^ 63U));
  }
}

}  // namespace
}  // namespace ssmax::device
