#include "train/watchdog.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <string>
#include <thread>

namespace ssmax::train {
namespace {

using std::chrono::milliseconds;

/// A watchdog whose finding can be waited for.
struct Watched {
  std::promise<std::string> message;
  std::future<std::string> found = message.get_future();
  Watchdog watchdog{3,
                    [this](const base::Error& error) {
                      EXPECT_EQ(error.kind(), base::ErrorKind::hang);
                      message.set_value(error.what());
                    },
                    0.005};

  bool fires_within(milliseconds time) { return found.wait_for(time) == std::future_status::ready; }
};

TEST(Watchdog, NamesRankSecondsAndSection) {
  Watched watched;
  const Watchdog::Section section(watched.watchdog, "backward", 0.05);
  ASSERT_TRUE(watched.fires_within(milliseconds(10'000)));
  const std::string message = watched.found.get();
  EXPECT_TRUE(message.starts_with("rank 3 silent for 0.")) << message;
  EXPECT_NE(message.find(" s in section backward (allowed: 0.1 s)"), std::string::npos) << message;
}

TEST(Watchdog, BeatsKeepItQuiet) {
  Watched watched;
  // Twice the allowed silence goes by in all. Each tick counts for at most 10 ms, so to fire
  // wrongly the watching thread must run fifty times while this one does not run at all.
  const Watchdog::Section section(watched.watchdog, "loading", 0.5);
  const auto end = std::chrono::steady_clock::now() + milliseconds(1000);
  while (std::chrono::steady_clock::now() < end) {
    watched.watchdog.beat();
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_FALSE(watched.fires_within(milliseconds(0)));
}

TEST(Watchdog, NoTimeoutMeansNoLimit) {
  Watched watched;
  const Watchdog::Section section(watched.watchdog, "waiting", 0.0);
  EXPECT_FALSE(watched.fires_within(milliseconds(60)));
}

TEST(Watchdog, TheOuterSectionComesBack) {
  Watched watched;
  const Watchdog::Section outer(watched.watchdog, "step", 0.03);
  {
    const Watchdog::Section inner(watched.watchdog, "checkpoint", 0.0);
    EXPECT_FALSE(watched.fires_within(milliseconds(80)));
  }
  ASSERT_TRUE(watched.fires_within(milliseconds(10'000)));
  EXPECT_NE(watched.found.get().find("in section step"), std::string::npos);
}

TEST(Watchdog, AProcessThatWasStoppedIsNotBlamed) {
  const pid_t child = fork();
  if (child == 0) {
    Watchdog watchdog(
        0, [](const base::Error&) { _exit(1); }, 0.005);
    const Watchdog::Section section(watchdog, "training", 0.4);
    std::this_thread::sleep_for(milliseconds(30));  // a few ticks
    raise(SIGSTOP);
    std::this_thread::sleep_for(milliseconds(30));
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, WUNTRACED);
  std::this_thread::sleep_for(milliseconds(600));
  kill(child, SIGCONT);
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace ssmax::train
