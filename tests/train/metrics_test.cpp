#include "train/metrics.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cmath>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <string>

#include "base/read_file.h"
#include "base/strict_json.h"
#include "support/temporary_folder.h"

namespace ssmax::train {
namespace {

using base::JsonValue;

class Metrics : public testing::Test {
 protected:
  std::string text() const { return base::read_text_file(path(), base::ErrorKind::disk); }
  std::filesystem::path path() const { return folder_.path() / "metrics.jsonl"; }
  void append(std::string_view more) const { std::ofstream(path(), std::ios::app) << more; }

  support::TemporaryFolder folder_;
};

StepMetrics step_metrics(std::int64_t step, double speed = 1000.0) {
  const auto x = static_cast<double>(step);
  return {.step = step,
          .loss = 10.0 / (x + 3.0),
          .learning_rate = 6e-4 * x / 7.0,
          .gradient_norm = std::sqrt(x),
          .tokens = step * 4096,
          .tokens_per_second = speed,
          .model_flops_utilization = speed / 3000.0};
}

/// What a trainer writes in the steps after `from` up to `to`: validation every 2, checkpoints
/// every 3. `speed` stands for everything that a clock measures.
void write_steps(MetricsLog& log, std::int64_t from, std::int64_t to, double speed) {
  const auto validate = [&](std::int64_t step) {
    if (step % 2 != 0 || log.has(MetricsEvent::validation, step)) return;
    log.write(ValidationMetrics{
        .step = step, .loss = 4.0 / static_cast<double>(step), .tokens = 99, .seconds = speed});
  };
  if (from > 0) validate(from);
  for (std::int64_t step = from + 1; step <= to; ++step) {
    log.write(step_metrics(step, speed));
    if (step % 3 == 0) log.write(MetricsEvent::checkpoint, step);
    validate(step);
  }
}

/// The text with every timing value replaced by null.
std::string without_timings(const std::string& text) {
  std::string result;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    JsonValue line =
        base::parse_json_value(text.substr(begin, end - begin), "metrics", base::ErrorKind::data);
    for (const char* key : {"seconds", "tokens_per_second", "model_flops_utilization"}) {
      if (JsonValue* value = line.find(key)) *value = JsonValue{};
    }
    result += base::to_text(line) + '\n';
    begin = end + 1;
  }
  return result;
}

TEST_F(Metrics, WritesOneObjectPerLine) {
  MetricsLog log = MetricsLog::create(path());
  log.write(MetricsEvent::start, 0,
            JsonValue::object().add("seed", JsonValue::of(std::int64_t{7})));
  log.write(StepMetrics{.step = 1,
                        .loss = 0.1,
                        .learning_rate = 6e-4,
                        .gradient_norm = 1.5,
                        .tokens = 4096,
                        .tokens_per_second = 250.5,
                        .model_flops_utilization = 0.5});
  log.write(MetricsEvent::checkpoint, 1);
  log.write(ValidationMetrics{.step = 1, .loss = 2.5, .tokens = 10, .seconds = 0.25});
  log.sync();
  EXPECT_EQ(text(),
            "{\"event\":\"start\",\"step\":0,\"seed\":7}\n"
            "{\"event\":\"step\",\"step\":1,\"loss\":0.1,\"learning_rate\":0.0006,"
            "\"gradient_norm\":1.5,\"tokens\":4096,\"tokens_per_second\":250.5,"
            "\"model_flops_utilization\":0.5}\n"
            "{\"event\":\"checkpoint\",\"step\":1}\n"
            "{\"event\":\"validation\",\"step\":1,\"loss\":2.5,\"tokens\":10,\"seconds\":0.25}\n");
}

TEST_F(Metrics, NumbersRoundTripAndWhatIsNotFiniteIsNull) {
  MetricsLog log = MetricsLog::create(path());
  const double loss = 0.1 + 0.2;
  const double tiny = std::numeric_limits<double>::denorm_min();
  log.write(StepMetrics{.step = 1,
                        .loss = loss,
                        .learning_rate = tiny,
                        .gradient_norm = NAN,
                        .tokens = std::int64_t{1} << 62,
                        .tokens_per_second = HUGE_VAL,
                        .skipped = true});
  const JsonValue line = base::parse_json_value(text(), "metrics", base::ErrorKind::data);
  EXPECT_EQ(line.find("loss")->number, loss);
  EXPECT_EQ(line.find("learning_rate")->number, tiny);
  EXPECT_EQ(line.find("tokens")->integer, std::int64_t{1} << 62);
  EXPECT_EQ(line.find("gradient_norm")->type, JsonValue::Type::null);
  EXPECT_EQ(line.find("tokens_per_second")->type, JsonValue::Type::null);
  EXPECT_TRUE(line.find("skipped")->boolean);
}

TEST_F(Metrics, AResumedRunWritesTheSameFile) {
  {
    MetricsLog log = MetricsLog::create(path());
    log.write(MetricsEvent::start, 0);
    write_steps(log, 0, 12, 1000.0);
    log.write(MetricsEvent::end, 12);
  }
  const std::string straight = without_timings(text());
  // Killed after the lines of step `killed`, in the middle of a line; resumed at a checkpoint.
  for (std::int64_t killed = 3; killed <= 12; ++killed) {
    for (std::int64_t checkpoint = 3; checkpoint <= killed; checkpoint += 3) {
      {
        MetricsLog log = MetricsLog::create(path());
        log.write(MetricsEvent::start, 0);
        write_steps(log, 0, killed, 1000.0);
      }
      append("{\"event\":\"step\",\"st");
      MetricsLog log = MetricsLog::resume(path(), checkpoint);
      EXPECT_EQ(log.resumed().damaged, 1);
      write_steps(log, checkpoint, 12, 321.5);
      log.write(MetricsEvent::end, 12);
      EXPECT_EQ(without_timings(text()), straight)
          << "killed at " << killed << ", resumed at " << checkpoint;
    }
  }
}

TEST_F(Metrics, AKillBetweenCheckpointAndValidationLeavesNoSeam) {
  {
    MetricsLog log = MetricsLog::create(path());
    write_steps(log, 0, 8, 1.0);
  }
  const std::string straight = text();
  {
    MetricsLog log = MetricsLog::create(path());
    write_steps(log, 0, 5, 1.0);
    log.write(step_metrics(6, 1.0));
    log.write(MetricsEvent::checkpoint, 6);
  }
  MetricsLog log = MetricsLog::resume(path(), 6);
  EXPECT_TRUE(log.has(MetricsEvent::step, 6));
  EXPECT_TRUE(log.has(MetricsEvent::checkpoint, 6));
  EXPECT_FALSE(log.has(MetricsEvent::validation, 6));
  write_steps(log, 6, 8, 1.0);
  EXPECT_EQ(text(), straight);
}

TEST_F(Metrics, ResumeDropsTheEndOfAShorterRun) {
  {
    MetricsLog log = MetricsLog::create(path());
    write_steps(log, 0, 3, 1.0);
    log.write(MetricsEvent::end, 3);
  }
  const MetricsLog log = MetricsLog::resume(path(), 3);
  EXPECT_EQ(log.resumed().kept, 5);
  EXPECT_EQ(log.resumed().dropped, 1);
  EXPECT_EQ(log.resumed().damaged, 0);
  EXPECT_EQ(text().find("\"end\""), std::string::npos);
}

TEST_F(Metrics, ResumeWithoutAFileStartsOne) {
  MetricsLog log = MetricsLog::resume(path(), 4);
  EXPECT_EQ(log.resumed().kept, 0);
  EXPECT_FALSE(log.has(MetricsEvent::step, 4));
  log.write(step_metrics(5));
  EXPECT_TRUE(log.has(MetricsEvent::step, 5));
}

TEST_F(Metrics, ResumeDropsDamagedLinesAndKeepsTheRest) {
  {
    MetricsLog log = MetricsLog::create(path());
    log.write(step_metrics(1));
  }
  const std::string good = text();
  append(std::string(5, '\0') + "\n[]\n{\"event\":\"dance\",\"step\":1}\n{\"event\":\"step\"}\n");
  append(good);
  const MetricsLog log = MetricsLog::resume(path(), 1);
  EXPECT_EQ(log.resumed().damaged, 4);
  EXPECT_EQ(text(), good + good);
}

TEST_F(Metrics, ALineWithoutItsNewlineIsDamaged) {
  {
    MetricsLog log = MetricsLog::create(path());
    log.write(step_metrics(1));
    log.write(step_metrics(2));
  }
  const std::string whole = text();
  std::filesystem::resize_file(path(), whole.size() - 1);
  MetricsLog log = MetricsLog::resume(path(), 2);
  EXPECT_EQ(log.resumed().damaged, 1);
  log.write(step_metrics(2));
  EXPECT_EQ(text(), whole);
}

TEST_F(Metrics, AFullDiskAtResumeLeavesTheOldFile) {
  {
    MetricsLog log = MetricsLog::create(path());
    write_steps(log, 0, 6, 1.0);
  }
  const std::string before = text();
  base::set_disk_fault_hook([](base::DiskCall call, const std::filesystem::path&) {
    return base::DiskFault{.error = call == base::DiskCall::write ? ENOSPC : 0};
  });
  EXPECT_THROW(MetricsLog::resume(path(), 3), base::Error);
  base::set_disk_fault_hook({});
  EXPECT_EQ(text(), before);
}

TEST_F(Metrics, CreateEmptiesAnOldFileAndStepsDoNotGoBack) {
  { MetricsLog::create(path()).write(step_metrics(9)); }
  MetricsLog log = MetricsLog::create(path());
  EXPECT_EQ(text(), "");
  log.write(step_metrics(2));
  EXPECT_THROW(log.write(step_metrics(1)), std::logic_error);
}

}  // namespace
}  // namespace ssmax::train
