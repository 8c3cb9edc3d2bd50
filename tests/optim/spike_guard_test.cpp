#include "optim/spike_guard.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/random.h"

namespace ssmax::optim {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// A loss of 3 and a norm of 1 with noise of standard deviation 0.1.
Verdict judge_normal_step(SpikeGuard& guard, std::uint64_t index) {
  return guard.judge(3.0 + 0.1 * base::random_normal(5, 0, index),
                     1.0 + 0.1 * base::random_normal(5, 1, index));
}

TEST(SpikeGuard, SkipsWhatIsNotFiniteAndKeepsItOut) {
  SpikeGuard guard({.window = 4});
  EXPECT_EQ(guard.judge(3.0, 1.0), Verdict::accept);
  EXPECT_EQ(guard.judge(kNan, 1.0), Verdict::skip);
  EXPECT_EQ(guard.judge(3.0, kInfinity), Verdict::skip);
  EXPECT_EQ(guard.judge(-kInfinity, kNan), Verdict::skip);
  EXPECT_EQ(guard.state().losses, std::vector<double>{3.0});
  EXPECT_EQ(guard.state().norms, std::vector<double>{1.0});
  EXPECT_EQ(guard.state().skips, 3);
  EXPECT_EQ(guard.judge(2.0, 1.0), Verdict::accept);
  EXPECT_EQ(guard.state().skips, 0);
}

TEST(SpikeGuard, IgnoresSpikesWithoutAThreshold) {
  SpikeGuard guard({.window = 4});
  for (std::uint64_t i = 0; i < 8; ++i) EXPECT_EQ(judge_normal_step(guard, i), Verdict::accept);
  EXPECT_EQ(guard.judge(1e6, 1e6), Verdict::accept);
}

TEST(SpikeGuard, SkipsSpikesOfLossOrNormButNotFalls) {
  SpikeGuard guard({.window = 32, .threshold = 6.0});
  EXPECT_EQ(guard.judge(1e3, 1.0), Verdict::accept) << "the window is not full yet";
  for (std::uint64_t i = 0; i < 64; ++i) {
    EXPECT_EQ(judge_normal_step(guard, i), Verdict::accept) << i;
  }
  const SpikeGuardState before = guard.state();
  EXPECT_EQ(guard.judge(4.5, 1.0), Verdict::skip);
  EXPECT_EQ(guard.judge(3.0, 2.5), Verdict::skip);
  EXPECT_EQ(guard.state().losses, before.losses) << "a spike must not widen the window";
  EXPECT_EQ(guard.judge(0.0, 0.0), Verdict::accept);
}

TEST(SpikeGuard, TheWindowForgets) {
  SpikeGuard guard({.window = 3});
  for (int i = 0; i < 10; ++i) guard.judge(i, 10.0 * i);
  EXPECT_EQ(guard.state().losses, (std::vector<double>{7, 8, 9}));
  EXPECT_EQ(guard.state().norms, (std::vector<double>{70, 80, 90}));
}

TEST(SpikeGuard, AsksForOneRollBackThenGivesUp) {
  SpikeGuard guard({.window = 4, .max_skips = 3});
  guard.judge(3.0, 1.0);
  const SpikeGuardState saved = guard.state();
  EXPECT_EQ(guard.judge(kNan, 1.0), Verdict::skip);
  EXPECT_EQ(guard.judge(kNan, 1.0), Verdict::skip);
  EXPECT_EQ(guard.judge(kNan, 1.0), Verdict::roll_back);
  EXPECT_EQ(guard.state().skips, 0);
  guard.restore(saved);  // what loading the checkpoint does
  EXPECT_EQ(guard.judge(3.0, 1.0), Verdict::accept);
  EXPECT_EQ(guard.judge(kNan, 1.0), Verdict::skip);
  EXPECT_EQ(guard.judge(kNan, 1.0), Verdict::skip);
  try {
    guard.judge(kNan, 1.0);
    FAIL() << "the second time must end the run";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::numerics);
    EXPECT_NE(std::string(error.what()).find("3 steps in a row"), std::string::npos);
  }
}

TEST(SpikeGuard, ARestoredGuardJudgesTheSame) {
  const SpikeGuardConfig config{.window = 16, .threshold = 2.0, .max_skips = 1000};
  SpikeGuard straight(config);
  SpikeGuard resumed(config);
  int skipped = 0;
  for (std::uint64_t i = 0; i < 200; ++i) {
    if (i % 37 == 0) {
      const SpikeGuardState saved = resumed.state();
      resumed = SpikeGuard(config);
      resumed.restore(saved);
    }
    const Verdict verdict = judge_normal_step(straight, i);
    EXPECT_EQ(judge_normal_step(resumed, i), verdict) << i;
    skipped += verdict == Verdict::skip ? 1 : 0;
  }
  EXPECT_GT(skipped, 0);
  EXPECT_EQ(straight.state().losses, resumed.state().losses);
  EXPECT_EQ(straight.state().skips, resumed.state().skips);
}

TEST(SpikeGuard, RestoresALongerWindowAndRefusesALopsidedOne) {
  SpikeGuard guard({.window = 2});
  guard.restore({.losses = {1, 2, 3}, .norms = {4, 5, 6}});
  EXPECT_EQ(guard.state().losses, (std::vector<double>{2, 3}));
  EXPECT_EQ(guard.state().norms, (std::vector<double>{5, 6}));
  EXPECT_THROW(guard.restore({.losses = {1}, .norms = {}}), base::Error);
}

}  // namespace
}  // namespace ssmax::optim
