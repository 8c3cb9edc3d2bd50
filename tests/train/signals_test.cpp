#include "train/signals.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "support/ask_to_stop.h"

namespace ssmax::train {
namespace {

using std::chrono::milliseconds;

TEST(StopSignals, TheFirstSignalOnlyAsks) {
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) {
    const StopSignals signals(75);
    EXPECT_EQ(signals.requested(), 0);
    support::ask_to_stop(signals, signal);
    EXPECT_EQ(signals.requested(), signal);
    kill(getpid(), SIGTERM);  // at once: the same request, sent to process and group
    EXPECT_EQ(signals.requested(), signal);
  }
}

TEST(StopSignals, ASecondSignalLeavesFast) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_EXIT(
      {
        const StopSignals signals(75, 0.02);
        support::ask_to_stop(signals, SIGTERM);
        std::this_thread::sleep_for(milliseconds(30));
        kill(getpid(), SIGUSR1);
        std::this_thread::sleep_for(std::chrono::seconds(10));
        _exit(1);
      },
      testing::ExitedWithCode(75), "");
}

TEST(StopSignals, PutsTheFormerHandlersBack) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_EXIT(
      {
        { const StopSignals signals(75); }
        kill(getpid(), SIGTERM);
        _exit(1);
      },
      testing::KilledBySignal(SIGTERM), "");
  const StopSignals signals(75);
  EXPECT_THROW(StopSignals(75), std::logic_error);
}

sigset_t blocked_here() {
  sigset_t blocked;
  pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  return blocked;
}

// A handler on a thread that computes writes into the heap: see StopSignals.
TEST(StopSignals, NoThreadThatComputesTakesThem) {
  {
    const StopSignals signals(75);
    const int threads = 4;
    std::vector<sigset_t> masks(threads);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int i = 0; i < threads; ++i) masks[static_cast<std::size_t>(i)] = blocked_here();
    for (const sigset_t& mask : masks) {
      for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) EXPECT_EQ(sigismember(&mask, signal), 1);
      EXPECT_EQ(sigismember(&mask, SIGUSR2), 0);
    }
  }
  const sigset_t after = blocked_here();
  EXPECT_EQ(sigismember(&after, SIGTERM), 0);
}

TEST(DieWithParent, NoOrphanOutlivesAKilledParent) {
  int alive[2];  // held open by the grandchild alone; closed means it is gone
  int ready[2];
  ASSERT_EQ(pipe(alive), 0);
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    if (fork() == 0) {
      alarm(30);  // should die_with_parent() not work
      die_with_parent();
      [[maybe_unused]] const auto written = write(ready[1], "r", 1);
      for (;;) pause();
    }
    close(alive[1]);
    for (;;) pause();
  }
  close(alive[1]);
  close(ready[1]);
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  pollfd watched{.fd = alive[0], .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&watched, 1, 20), 0) << "the grandchild lives while its parent does";
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(poll(&watched, 1, 10'000), 1) << "the grandchild was left behind";
  close(alive[0]);
  close(ready[0]);
}

}  // namespace
}  // namespace ssmax::train
