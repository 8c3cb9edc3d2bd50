#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

/// What CPU threads do between two loops. OpenMP's spin for milliseconds, ready for the next loop
/// at once, as suits a quiet machine. Where others want the cores a spinning thread keeps one from
/// a thread with work, and every loop takes a time slice of the kernel: of small models a step
/// becomes a hundred times slower, and more.
namespace ssmax::device {

/// The kernel's ids of the threads that share this thread's loops.
std::vector<pid_t> loop_threads();

/// Seconds that these threads of the process were ready to run and had no core, in all; 0 where the
/// kernel does not count them.
double seconds_without_core(std::span<const pid_t> threads);

/// While it lives, OpenMP's threads sleep between loops. The library reads its settings before
/// main, but it does not spin while it manages more threads than there are cores (its manual,
/// GOMP_SPINCOUNT). So the threads that are missing stand here, asleep.
class SleepBetweenLoops {
 public:
  /// `threads` do the work.
  explicit SleepBetweenLoops(int threads);
  ~SleepBetweenLoops();
  SleepBetweenLoops(const SleepBetweenLoops&) = delete;
  SleepBetweenLoops& operator=(const SleepBetweenLoops&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool end_ = false;
  std::thread holder_;  // of a team of OpenMP's that does nothing
};

struct CoreWatchOptions {
  double tick_seconds = 0.5;             // between two looks
  double sleep_seconds = 30.0;           // then threads spin again for a tick, to see
  double longest_sleep_seconds = 480.0;  // after tries in vain, each twice as late as the last
};

/// While it lives, threads spin or sleep between loops, as the cores are theirs or not; says so in
/// the log the first time. Does nothing for one thread, or where OMP_WAIT_POLICY or GOMP_SPINCOUNT
/// say what to do. To be made after set_cpu_threads(), by the thread that computes.
class CoreWatch {
 public:
  explicit CoreWatch(const CoreWatchOptions& options = {});
  ~CoreWatch();
  CoreWatch(const CoreWatch&) = delete;
  CoreWatch& operator=(const CoreWatch&) = delete;

  /// Whether threads sleep between loops now.
  bool sleeps() const;

 private:
  bool wait(double seconds);  // false at the end
  void watch();

  CoreWatchOptions options_;
  std::vector<pid_t> threads_;  // others of the process may wait for these
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool sleeps_ = false;
  bool end_ = false;
  std::thread thread_;
};

}  // namespace ssmax::device
