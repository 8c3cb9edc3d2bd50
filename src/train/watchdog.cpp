#include "train/watchdog.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/clock.h"
#include "base/format.h"

namespace ssmax::train {

Watchdog::Watchdog(int rank, OnHang on_hang, double tick_seconds)
    : rank_(rank),
      on_hang_(std::move(on_hang)),
      tick_seconds_(tick_seconds),
      thread_([this] { watch(); }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Watchdog::beat() {
  const std::lock_guard lock(mutex_);
  silent_ = 0.0;
}

void Watchdog::enter(std::string name, double timeout_seconds) {
  const std::lock_guard lock(mutex_);
  section_ = std::move(name);
  timeout_ = timeout_seconds;
  silent_ = 0.0;
}

void Watchdog::watch() {
  std::unique_lock lock(mutex_);
  base::Stopwatch since_tick;
  while (!wake_.wait_for(lock, std::chrono::duration<double>(tick_seconds_),
                         [this] { return stop_; })) {
    // No tick counts for more than two, so a process that was stopped and continued is not blamed
    // for the time between.
    silent_ += std::min(since_tick.restart(), 2.0 * tick_seconds_);
    if (timeout_ == 0.0 || silent_ < timeout_) continue;
    const base::Error error(base::ErrorKind::hang,
                            "rank " + std::to_string(rank_) + " silent for " +
                                base::format_seconds(silent_) + " in section " + section_ +
                                " (allowed: " + base::format_seconds(timeout_) + ")");
    lock.unlock();
    on_hang_(error);
    return;
  }
}

Watchdog::Section::Section(Watchdog& watchdog, std::string_view name, double timeout_seconds)
    : watchdog_(watchdog) {
  {
    const std::lock_guard lock(watchdog.mutex_);
    outer_name_ = watchdog.section_;
    outer_timeout_ = watchdog.timeout_;
  }
  watchdog.enter(std::string(name), timeout_seconds);
}

Watchdog::Section::~Section() { watchdog_.enter(std::move(outer_name_), outer_timeout_); }

}  // namespace ssmax::train
