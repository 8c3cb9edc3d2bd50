#include "train/signals.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <stdexcept>

namespace ssmax::train {

namespace {

constexpr std::array kStopSignals = {SIGTERM, SIGINT, SIGUSR1};

// What the handler may touch: lock-free atomics.
std::atomic<int> requested_signal{0};
std::atomic<std::int64_t> first_signal_time{0};  // nanoseconds; 0 = none yet
std::atomic<std::int64_t> repeat_nanoseconds{0};
std::atomic<int> second_exit_code{0};
std::atomic<bool> installed{false};
static_assert(std::atomic<std::int64_t>::is_always_lock_free);
static_assert(std::atomic<int>::is_always_lock_free);

std::array<struct sigaction, kStopSignals.size()> former{};

void on_stop_signal(int signal) {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  const std::int64_t now = std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  std::int64_t first = 0;
  if (first_signal_time.compare_exchange_strong(first, now)) {
    requested_signal.store(signal);
  } else if (now - first >= repeat_nanoseconds.load()) {
    _exit(second_exit_code.load());
  }
}

}  // namespace

StopSignals::StopSignals(int exit_code, double repeat_seconds) {
  if (installed.exchange(true)) throw std::logic_error("StopSignals exists already");
  second_exit_code = exit_code;
  repeat_nanoseconds = static_cast<std::int64_t>(repeat_seconds * 1e9);
  requested_signal = 0;
  first_signal_time = 0;
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < kStopSignals.size(); ++i) {
    sigaction(kStopSignals[i], &action, &former[i]);
  }
  // Threads inherit the mask: none that this one starts takes the signals, but for the taker.
  sigset_t taken;
  sigemptyset(&taken);
  for (const int signal : kStopSignals) sigaddset(&taken, signal);
  pthread_sigmask(SIG_BLOCK, &taken, &former_mask_);
  sem_init(&end_, 0, 0);
  taker_ = std::thread([this, taken] {
    pthread_sigmask(SIG_UNBLOCK, &taken, nullptr);
    while (sem_wait(&end_) != 0) {
    }
  });
}

StopSignals::~StopSignals() {
  sem_post(&end_);
  taker_.join();
  sem_destroy(&end_);
  pthread_sigmask(SIG_SETMASK, &former_mask_, nullptr);
  for (std::size_t i = 0; i < kStopSignals.size(); ++i) {
    sigaction(kStopSignals[i], &former[i], nullptr);
  }
  installed = false;
}

int StopSignals::requested() const { return requested_signal.load(); }

void die_with_parent() {
  const pid_t parent = getppid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // It may have ended between the two calls.
  if (getppid() != parent) raise(SIGKILL);
}

}  // namespace ssmax::train
