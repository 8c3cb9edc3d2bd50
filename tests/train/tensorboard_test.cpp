#include "train/tensorboard.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <bit>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/read_file.h"
#include "support/temporary_folder.h"

namespace ssmax::train {
namespace {

/// CRC-32C bit by bit, apart from the table of the writer.
std::uint32_t crc32c(std::string_view data) {
  std::uint32_t crc = ~0U;
  for (const char c : data) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1U) != 0 ? (crc >> 1) ^ 0x82F63B78U : crc >> 1;
  }
  return ~crc;
}

std::uint32_t masked(std::uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xA282EAD8U; }

/// Takes values off the front of a buffer; ill-formed input fails the test by an exception.
struct Reader {
  std::string_view rest;

  std::string_view take(std::size_t bytes) {
    if (bytes > rest.size()) throw std::runtime_error("cut");
    const std::string_view taken = rest.substr(0, bytes);
    rest.remove_prefix(bytes);
    return taken;
  }
  std::uint64_t fixed(std::size_t bytes) {
    std::uint64_t value = 0;
    int shift = 0;
    for (const char c : take(bytes)) {
      value |= std::uint64_t{static_cast<unsigned char>(c)} << shift;
      shift += 8;
    }
    return value;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= std::uint64_t{byte & 0x7FU} << shift;
      if (byte < 0x80) return value;
    }
  }
};

/// One protobuf message: integers and fixed values as numbers, nested messages as bytes.
struct Message {
  std::multimap<std::uint64_t, std::uint64_t> numbers;
  std::multimap<std::uint64_t, std::string_view> bytes;

  explicit Message(std::string_view data) {
    Reader reader{data};
    while (!reader.rest.empty()) {
      const std::uint64_t key = reader.varint();
      switch (key & 7U) {
        case 0:
          numbers.emplace(key >> 3, reader.varint());
          break;
        case 1:
          numbers.emplace(key >> 3, reader.fixed(8));
          break;
        case 2:
          bytes.emplace(key >> 3, reader.take(reader.varint()));
          break;
        case 5:
          numbers.emplace(key >> 3, reader.fixed(4));
          break;
        default:
          throw std::runtime_error("wire type");
      }
    }
  }
};

std::vector<std::string> read_records(const std::filesystem::path& path) {
  const std::string text = base::read_text_file(path, base::ErrorKind::disk);
  std::vector<std::string> records;
  for (Reader reader{text}; !reader.rest.empty();) {
    const std::string_view length_bytes = reader.rest.substr(0, 8);
    const std::uint64_t length = reader.fixed(8);
    EXPECT_EQ(reader.fixed(4), masked(crc32c(length_bytes)));
    const std::string_view data = reader.take(length);
    EXPECT_EQ(reader.fixed(4), masked(crc32c(data)));
    records.emplace_back(data);
  }
  return records;
}

StepMetrics step_metrics(std::int64_t step, double loss) {
  return {.step = step,
          .loss = loss,
          .learning_rate = 6e-4,
          .gradient_norm = 1.25,
          .tokens = step * 100,
          .tokens_per_second = 1e5,
          .model_flops_utilization = 0.5};
}

TEST(Tensorboard, TheCheckOfTheTestIsRight) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);  // the check value of CRC-32C
}

TEST(Tensorboard, StartsWithTheVersionAndWritesScalars) {
  const support::TemporaryFolder folder;
  TensorboardLog log(folder.path(), 0);
  log.write(step_metrics(300, 2.5));
  log.write(ValidationMetrics{.step = 300, .loss = 3.25});
  const auto records = read_records(log.path());
  ASSERT_EQ(records.size(), 3U);

  const Message version(records[0]);
  EXPECT_EQ(version.bytes.find(3)->second, "brain.Event:2");
  const double wall_time = std::bit_cast<double>(version.numbers.find(1)->second);
  EXPECT_GT(wall_time, 1.7e9);

  std::map<std::string, float> scalars;
  for (const std::size_t record : {1U, 2U}) {
    const Message event(records[record]);
    EXPECT_EQ(event.numbers.find(2)->second, 300U);
    const Message summary(event.bytes.find(5)->second);
    for (const auto& [field, bytes] : summary.bytes) {
      EXPECT_EQ(field, 1U);
      const Message value(bytes);
      const auto bits = static_cast<std::uint32_t>(value.numbers.find(2)->second);
      scalars[std::string(value.bytes.find(1)->second)] = std::bit_cast<float>(bits);
    }
  }
  const std::map<std::string, float> expected = {
      {"loss/train", 2.5F},     {"loss/validation", 3.25F},  {"learning_rate", 6e-4F},
      {"gradient_norm", 1.25F}, {"tokens_per_second", 1e5F}, {"model_flops_utilization", 0.5F}};
  EXPECT_EQ(scalars, expected);
}

TEST(Tensorboard, AResumeOpensAnotherFileThatPurgesLaterSteps) {
  const support::TemporaryFolder folder;
  const TensorboardLog first(folder.path(), 0);
  const TensorboardLog second(folder.path(), 7);
  const TensorboardLog third(folder.path(), 9);
  EXPECT_LT(first.path().string(), second.path().string());
  EXPECT_LT(second.path().string(), third.path().string());
  EXPECT_EQ(read_records(first.path()).size(), 1U);
  const auto records = read_records(second.path());
  ASSERT_EQ(records.size(), 2U);
  const Message event(records[1]);
  EXPECT_EQ(event.numbers.find(2)->second, 8U);
  const Message session(event.bytes.find(7)->second);
  EXPECT_EQ(session.numbers.find(1)->second, 1U);  // START
}

TEST(Tensorboard, TensorBoardReadsIt) {
  const char* python = std::getenv("SSMAX_PYTHON");
  const std::string interpreter = python != nullptr ? python : "python3";
  const support::TemporaryFolder folder;
  const auto run = [&](std::int64_t from, std::int64_t to, double shift) {
    const auto path = folder.path() / "metrics.jsonl";
    MetricsLog metrics = from == 0 ? MetricsLog::create(path) : MetricsLog::resume(path, from);
    TensorboardLog board(folder.path(), from);
    for (std::int64_t step = from + 1; step <= to; ++step) {
      const StepMetrics values = step_metrics(step, shift + 1.0 / static_cast<double>(step));
      metrics.write(values);
      board.write(values);
      if (step % 5 != 0) continue;
      const ValidationMetrics validation{.step = step, .loss = 2.0 * shift};
      metrics.write(validation);
      board.write(validation);
    }
  };
  run(0, 30, 1.0);
  run(20, 40, 5.0);  // steps 21 to 30 are written anew, with other values
  const std::string command = interpreter + " " SSMAX_SOURCE_DIR "/scripts/check_tensorboard.py " +
                              folder.path().string() + " >&2";
  const int status = std::system(command.c_str());
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 127) {
    GTEST_SKIP() << interpreter << " has no tensorboard; set SSMAX_PYTHON to one that has";
  }
  EXPECT_EQ(WEXITSTATUS(status), 0) << command;
}

}  // namespace
}  // namespace ssmax::train
