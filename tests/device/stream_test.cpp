#include "device/stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <vector>

#include "base/errors.h"
#include "device/gpus.h"
#include "device/launch.h"
#include "device/parallel.h"

namespace ssmax::device {

namespace launch_test {
namespace cpu {
int twice(Stream& /*stream*/, int x) { return 2 * x; }
}  // namespace cpu
namespace cuda {
[[gnu::weak]] int twice(Stream& stream, int x);  // defined nowhere
}  // namespace cuda
}  // namespace launch_test

namespace {

/// Sets the number of threads for one test.
struct Threads {
  explicit Threads(int threads) { set_cpu_threads(threads); }
  ~Threads() { set_cpu_threads(0); }
};

TEST(Stream, CopiesAndFillsExactlyTheView) {
  // More than one task, and an odd rest; guards on both sides.
  const std::int64_t elements = (std::int64_t{1} << 20) + 13;
  std::vector<float> source(static_cast<std::size_t>(elements));
  std::iota(source.begin(), source.end(), 1.0F);
  std::vector<float> target(source.size() + 2, -1.0F);
  Stream stream;
  const Tensor inner = view(target.data() + 1, {elements});
  copy(stream, inner, view(source.data(), {elements}));
  stream.synchronize();
  EXPECT_TRUE(std::equal(source.begin(), source.end(), target.begin() + 1));
  EXPECT_EQ(target.front(), -1.0F);
  EXPECT_EQ(target.back(), -1.0F);
  fill_zero(stream, inner);
  EXPECT_TRUE(std::all_of(target.begin() + 1, target.end() - 1, [](float x) { return x == 0; }));
  EXPECT_EQ(target.front(), -1.0F);
  EXPECT_EQ(target.back(), -1.0F);
}

TEST(Stream, CopiesRowsWithinLargerTensors) {
  std::vector<float> source(5 * 7);
  std::iota(source.begin(), source.end(), 0.0F);
  std::vector<float> target(4 * 6, -1.0F);
  Stream stream;
  copy_rows(stream, {view(target.data(), {4, 6}), 2, 6}, {view(source.data(), {5, 7}), 8, 7}, 3, 2);
  for (std::size_t row = 0; row < 4; ++row) {
    for (std::size_t column = 0; column < 6; ++column) {
      const bool copied = row < 3 && (column == 2 || column == 3);
      const auto value = static_cast<float>((row + 1) * 7 + column - 1);
      EXPECT_EQ(target[row * 6 + column], copied ? value : -1.0F) << row << ", " << column;
    }
  }
}

TEST(ParallelFor, VisitsEveryIndexOnceInCutsThatThreadsDoNotChange) {
  for (const int threads : {1, 2, 7}) {
    const Threads guard(threads);
    EXPECT_EQ(cpu_threads(), threads);
    for (const std::int64_t count : {0, 1, 9, 10, 11, 1000}) {
      std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
      std::atomic<int> bad_cuts = 0;
      parallel_for(count, 10, [&](std::int64_t begin, std::int64_t end) {
        if (begin % 10 != 0 || end != std::min(count, begin + 10)) ++bad_cuts;
        for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
      });
      EXPECT_EQ(bad_cuts, 0) << threads << " threads, count " << count;
      EXPECT_TRUE(std::all_of(visits.begin(), visits.end(), [](const auto& v) { return v == 1; }))
          << threads << " threads, count " << count;
    }
  }
}

TEST(ParallelFor, RunsInPlaceInsideAnother) {
  const Threads guard(2);
  std::atomic<int> sum = 0;
  std::atomic<int> moved = 0;
  parallel_for(8, 1, [&](std::int64_t, std::int64_t) {
    const int outer = omp_get_thread_num();
    parallel_for(5, 1, [&](std::int64_t, std::int64_t) {
      ++sum;
      if (omp_get_thread_num() != outer) ++moved;
    });
  });
  EXPECT_EQ(sum, 40);
  EXPECT_EQ(moved, 0);
}

TEST(Launch, RunsTheOpOfTheStreamsDevice) {
  Stream stream;
  EXPECT_EQ((launch<launch_test::cpu::twice, launch_test::cuda::twice>(stream, 21)), 42);
  EXPECT_FALSE(is_linked<launch_test::cuda::twice>());
}

TEST(Launch, RefusesWhatTheDeviceDoesNotHave) {
  if (gpus().found.empty()) {
    EXPECT_THROW(Stream({DeviceKind::cuda, 0}), base::Error);
    EXPECT_FALSE(gpus().reason.empty());
    return;
  }
  Stream stream({DeviceKind::cuda, 0});
  EXPECT_THROW((launch<launch_test::cpu::twice, launch_test::cuda::twice>(stream, 21)),
               base::Error);
}

}  // namespace
}  // namespace ssmax::device
