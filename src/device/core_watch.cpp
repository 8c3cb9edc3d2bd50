#include "device/core_watch.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <semaphore>
#include <string>

#include "base/clock.h"
#include "base/log.h"
#include "device/parallel.h"

namespace ssmax::device {

namespace {

/// Cores that were wanting, in the mean, before threads sleep. A program that has the machine to
/// itself waits for a hundredth; one more busy thread than cores makes it one half and more.
constexpr double kShortage = 0.25;

/// Of the process when OpenMP's library was loaded, which is what the library compares with.
const int kProcessorsAtStart = omp_get_num_procs();

bool is_told_how_to_wait() {
  return std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr;
}

}  // namespace

std::vector<pid_t> loop_threads() {
  std::vector<pid_t> ids(static_cast<std::size_t>(cpu_threads()));
#pragma omp parallel num_threads(cpu_threads())
  ids[static_cast<std::size_t>(omp_get_thread_num())] = ::gettid();
  return ids;
}

double seconds_without_core(std::span<const pid_t> threads) {
  double total = 0.0;
  for (const pid_t id : threads) {
    // Nanoseconds on a core, nanoseconds of waiting for one, time slices.
    std::ifstream file("/proc/self/task/" + std::to_string(id) + "/schedstat");
    double ran = 0.0;
    double waited = 0.0;
    if (file >> ran >> waited) total += 1e-9 * waited;
  }
  return total;
}

SleepBetweenLoops::SleepBetweenLoops(int threads) {
  // A team of n has n - 1 threads beside the one that opens it.
  const int team = std::max(2, kProcessorsAtStart - threads + 2);
  std::binary_semaphore stands(0);
  holder_ = std::thread([this, team, &stands] {
#pragma omp parallel num_threads(team)
    { static_cast<void>(omp_get_thread_num()); }
    stands.release();
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return end_; });
  });
  stands.acquire();
}

SleepBetweenLoops::~SleepBetweenLoops() {
  {
    const std::lock_guard lock(mutex_);
    end_ = true;
  }
  wake_.notify_one();
  holder_.join();  // with which its team ends
}

CoreWatch::CoreWatch(const CoreWatchOptions& options)
    : options_(options), threads_(loop_threads()) {
  if (threads_.size() > 1 && !is_told_how_to_wait()) thread_ = std::thread([this] { watch(); });
}

CoreWatch::~CoreWatch() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    end_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

bool CoreWatch::sleeps() const {
  const std::lock_guard lock(mutex_);
  return sleeps_;
}

bool CoreWatch::wait(double seconds) {
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return end_; });
}

void CoreWatch::watch() {
  double pause = options_.sleep_seconds;
  bool is_told = false;
  for (;;) {
    const base::Stopwatch watch;
    const double before = seconds_without_core(threads_);
    if (!wait(options_.tick_seconds)) return;
    if (seconds_without_core(threads_) - before < kShortage * watch.seconds()) {
      pause = options_.sleep_seconds;
      continue;
    }
    const SleepBetweenLoops sleep(static_cast<int>(threads_.size()));
    if (!is_told) {
      base::log_info("other work wants the cores of these " + std::to_string(threads_.size()) +
                     " threads: they sleep between loops now instead of spinning");
      is_told = true;
    }
    const auto set = [&](bool sleeps) {
      const std::lock_guard lock(mutex_);
      sleeps_ = sleeps;
    };
    set(true);
    const bool goes_on = wait(pause);
    set(false);
    if (!goes_on) return;
    pause = std::min(2.0 * pause, options_.longest_sleep_seconds);
  }
}

}  // namespace ssmax::device
