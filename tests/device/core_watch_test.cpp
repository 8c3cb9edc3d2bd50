#include "device/core_watch.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "device/parallel.h"

namespace ssmax::device {
namespace {

/// All threads of the process on its first core, which is as short of cores as a loaded machine.
class OneCore {
 public:
  OneCore() {
    sched_getaffinity(0, sizeof(before_), &before_);
    cpu_set_t one;
    CPU_ZERO(&one);
    int core = 0;
    while (!CPU_ISSET(core, &before_)) ++core;
    CPU_SET(core, &one);
    bind(one);
  }
  ~OneCore() { bind(before_); }
  OneCore(const OneCore&) = delete;
  OneCore& operator=(const OneCore&) = delete;

 private:
  static void bind(const cpu_set_t& cores) {
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      sched_setaffinity(std::stoi(task.path().filename()), sizeof(cores), &cores);
    }
  }

  cpu_set_t before_{};
};

class CoreWatching : public testing::Test {
 protected:
  void SetUp() override {
    if (omp_get_num_procs() < 2) GTEST_SKIP() << "needs two cores";
    if (!std::filesystem::exists("/proc/self/schedstat")) GTEST_SKIP() << "needs schedstat";
    for (const char* name : {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}) {
      if (std::getenv(name) != nullptr) GTEST_SKIP() << "needs " << name << " unset";
    }
    set_cpu_threads(2);
    loops(10);  // the team stands
  }
  void TearDown() override { set_cpu_threads(0); }

  /// Seconds of that many loops with next to nothing to do.
  static double loops(int count) {
    const base::Stopwatch watch;
    std::atomic<int> done = 0;
    for (int i = 0; i < count; ++i) parallel_for(2, 1, [&](auto, auto) { ++done; });
    EXPECT_EQ(done, 2 * count);
    return watch.seconds();
  }

  /// Whether it comes to hold while loops run, within half a minute.
  static bool comes(const std::function<bool()>& holds) {
    const base::Stopwatch watch;
    while (!holds() && watch.seconds() < 30.0) loops(1);
    return holds();
  }
};

TEST_F(CoreWatching, CountsTheTimeOfThreadsThatShareACore) {
  const OneCore core;
  const std::vector<pid_t> threads = loop_threads();
  ASSERT_EQ(threads.size(), 2U);
  const double before = seconds_without_core(threads);
  const base::Stopwatch watch;
  std::atomic<bool> end = false;
  std::thread other([&] {
    while (!end) continue;
  });
  while (watch.seconds() < 0.3) continue;
  const double waited = seconds_without_core(threads) - before;
  end = true;
  other.join();
  // One of two runs at any time; half of that is left for a counter that lags by a time slice.
  EXPECT_GT(waited, 0.15);
}

/// A thread that sleeps gives its core away at once, one that spins at the end of a time slice,
/// some milliseconds, of which a loop that does nothing takes a hundredth; four leaves a margin for
/// a machine that is short of cores as it is.
TEST_F(CoreWatching, LetsThreadsSleepWhereCoresAreShort) {
  const OneCore core;
  const double spinning = loops(50);
  const CoreWatch watch({.tick_seconds = 0.05});
  ASSERT_TRUE(comes([&] { return watch.sleeps(); }));
  EXPECT_LT(4.0 * loops(50), spinning);
}

TEST_F(CoreWatching, LetsThemSpinAgain) {
  const CoreWatch watch({.tick_seconds = 0.05, .sleep_seconds = 0.2});
  {
    const OneCore core;
    ASSERT_TRUE(comes([&] { return watch.sleeps(); }));
  }
  EXPECT_TRUE(comes([&] { return !watch.sleeps(); }));
}

TEST_F(CoreWatching, LeavesOneThreadAlone) {
  set_cpu_threads(1);
  const OneCore core;
  const CoreWatch watch({.tick_seconds = 0.01});
  std::atomic<bool> end = false;
  std::thread other([&] {
    while (!end) continue;
  });
  const base::Stopwatch time;
  while (time.seconds() < 0.2) EXPECT_FALSE(watch.sleeps());
  end = true;
  other.join();
}

}  // namespace
}  // namespace ssmax::device
