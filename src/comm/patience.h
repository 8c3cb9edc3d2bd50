#pragma once

#include <sched.h>

#include <chrono>
#include <thread>

#include "base/clock.h"

namespace ssmax::comm {

/// A wait for what can only be looked at. It looks often without giving the core away, then naps:
/// the core may be needed by the backward pass.
class Patience {
 public:
  /// Between two looks. Whether it is time to tell who waits and for how long.
  bool pause() {
    if (looks_ < kEagerLooks) {
      ++looks_;
      sched_yield();
      return false;
    }
    std::this_thread::sleep_for(kNap);
    if (watch_.seconds() < next_report_) return false;
    next_report_ = watch_.seconds() + kReportSeconds;
    return true;
  }

  /// Waited so far.
  double seconds() const { return watch_.seconds(); }

 private:
  static constexpr int kEagerLooks = 100;
  static constexpr std::chrono::microseconds kNap{20};
  static constexpr double kReportSeconds = 0.05;

  base::Stopwatch watch_;
  int looks_ = 0;
  double next_report_ = kReportSeconds;
};

}  // namespace ssmax::comm
