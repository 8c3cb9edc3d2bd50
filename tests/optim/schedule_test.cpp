#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <string>

namespace ssmax::optim {
namespace {

constexpr double kPeak = 6e-4;
constexpr ScheduleKind kKinds[] = {ScheduleKind::constant, ScheduleKind::cosine,
                                   ScheduleKind::linear, ScheduleKind::warmup_stable_decay};

class EverySchedule : public testing::TestWithParam<ScheduleKind> {};

TEST_P(EverySchedule, WarmsUpLinearlyFromOneOverWarmup) {
  const ScheduleConfig config{.kind = GetParam(), .warmup_steps = 10};
  for (std::int64_t step = 0; step < 10; ++step) {
    EXPECT_DOUBLE_EQ(learning_rate(config, kPeak, step, 100),
                     kPeak * static_cast<double>(step + 1) / 10.0);
  }
}

TEST_P(EverySchedule, IsThePeakRightAfterTheWarmup) {
  for (const std::int64_t warmup : {0, 1, 10}) {
    const ScheduleConfig config{.kind = GetParam(), .warmup_steps = warmup};
    EXPECT_DOUBLE_EQ(learning_rate(config, kPeak, warmup, 100), kPeak);
  }
}

TEST_P(EverySchedule, NeverRisesAfterTheWarmupAndEndsAtTheFinalFraction) {
  for (const double fraction : {0.0, 0.1, 1.0}) {
    const ScheduleConfig config{
        .kind = GetParam(), .warmup_steps = 7, .final_fraction = fraction, .decay_steps = 30};
    double last = kPeak;
    for (std::int64_t step = 7; step < 100; ++step) {
      const double rate = learning_rate(config, kPeak, step, 100);
      // Rounding of cos and of the product may lift a rate by an ulp or two.
      EXPECT_LE(rate, last * (1.0 + 1e-15)) << step;
      EXPECT_GE(rate, kPeak * fraction * (1.0 - 1e-15)) << step;
      last = rate;
    }
    if (GetParam() == ScheduleKind::constant) continue;
    if (fraction < 1.0) {
      EXPECT_GT(last, kPeak * fraction);
    }
    for (const std::int64_t step : {100, 101, 1000}) {
      EXPECT_DOUBLE_EQ(learning_rate(config, kPeak, step, 100), kPeak * fraction);
    }
  }
}

TEST_P(EverySchedule, SurvivesAWarmupAsLongAsTheRun) {
  const ScheduleConfig config{.kind = GetParam(), .warmup_steps = 50};
  EXPECT_DOUBLE_EQ(learning_rate(config, kPeak, 9, 10), kPeak * 10.0 / 50.0);
  EXPECT_GT(learning_rate(config, kPeak, 50, 10), 0.0);
}

INSTANTIATE_TEST_SUITE_P(Schedule, EverySchedule, testing::ValuesIn(kKinds),
                         [](const auto& test) { return std::string(base::enum_name(test.param)); });

TEST(Schedule, CosineAndLinearAreHalfwayInTheMiddle) {
  ScheduleConfig config{.kind = ScheduleKind::cosine, .warmup_steps = 20, .final_fraction = 0.2};
  EXPECT_DOUBLE_EQ(learning_rate(config, 1.0, 70, 120), 0.6);
  // p = 1/4: (1 + cos(pi/4)) / 2 of the way up.
  EXPECT_NEAR(learning_rate(config, 1.0, 45, 120), 0.2 + 0.8 * 0.853553390593273762, 1e-15);
  config.kind = ScheduleKind::linear;
  EXPECT_DOUBLE_EQ(learning_rate(config, 1.0, 70, 120), 0.6);
  EXPECT_DOUBLE_EQ(learning_rate(config, 1.0, 45, 120), 0.8);
}

TEST(Schedule, WarmupStableDecayHoldsThePeakUntilTheDecay) {
  ScheduleConfig config{
      .kind = ScheduleKind::warmup_stable_decay, .warmup_steps = 10, .final_fraction = 0.0};
  EXPECT_EQ(learning_rate(config, 1.0, 79, 100), 1.0);
  EXPECT_EQ(learning_rate(config, 1.0, 80, 100), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(config, 1.0, 81, 100), 0.95);
  config.decay_steps = 50;
  EXPECT_EQ(learning_rate(config, 1.0, 50, 100), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(config, 1.0, 75, 100), 0.5);
  config.decay_steps = 500;  // longer than the run: falls from the end of the warm-up
  EXPECT_DOUBLE_EQ(learning_rate(config, 1.0, 55, 100), 0.5);
}

TEST(Schedule, ReadsAsAConfigSection) {
  const auto config = base::parse_config<ScheduleConfig>(
      R"({"kind": "warmup_stable_decay", "warmup_steps": 3, "final_fraction": 0.5})", "test");
  EXPECT_EQ(config.kind, ScheduleKind::warmup_stable_decay);
  EXPECT_EQ(config.warmup_steps, 3);
  EXPECT_EQ(config.final_fraction, 0.5);
  EXPECT_EQ(config.decay_steps, 0);
  EXPECT_THROW(base::parse_config<ScheduleConfig>(R"({"final_fraction": 1.5})", "test"),
               base::Error);
  EXPECT_THROW(base::parse_config<OptimizerConfig>(R"({"beta2": 1.0})", "test"), base::Error);
}

}  // namespace
}  // namespace ssmax::optim
