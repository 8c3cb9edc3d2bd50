#pragma once

#include <semaphore.h>
#include <signal.h>

#include <thread>

namespace ssmax::train {

/// While it lives, SIGTERM, SIGINT and SIGUSR1 ask for a stop at the next step boundary instead of
/// ending the process. One per process, made before the threads that compute.
///
/// Only a thread of its own takes these signals. The f32 matrix products that oneDNN 2.6 generates
/// use the stack pointer as one more register for addresses of the matrices; a handler that
/// interrupts them gets its frame written there, into the heap.
class StopSignals {
 public:
  /// A second signal ends the process at once with `exit_code`. Signals within `repeat_seconds` of
  /// the first count as that one: timeout(1) and launchers signal a process and then its group.
  explicit StopSignals(int exit_code, double repeat_seconds = 0.5);
  /// Puts the former handlers back and forgets the request.
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// The signal that asked for a stop; 0 = none.
  int requested() const;

 private:
  sigset_t former_mask_{};
  sem_t end_{};  // POSIX's: ThreadSanitizer runs handlers only in calls that it knows
  std::thread taker_;
};

/// The kernel kills this process when its parent thread ends, so that no rank outlives a killed
/// launcher. Call it first thing in the process.
void die_with_parent();

}  // namespace ssmax::train
