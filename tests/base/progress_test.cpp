#include "base/progress.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "base/format.h"
#include "base/log.h"
#include "base/read_file.h"
#include "support/temporary_folder.h"

namespace ssmax::base {
namespace {

/// A clock that the test sets and a file that takes the output.
class ProgressTest : public testing::Test {
 protected:
  void TearDown() override { std::fclose(out_); }

  ProgressOptions options(ProgressOptions::Style style) {
    ProgressOptions result;
    result.out = out_;
    result.style = style;
    result.now = [this] { return now_; };
    return result;
  }

  std::string output() {
    std::string text(static_cast<std::size_t>(std::ftell(out_)), '\0');
    std::rewind(out_);
    EXPECT_EQ(std::fread(text.data(), 1, text.size(), out_), text.size());
    return text;
  }

  double now_ = 100.0;
  std::FILE* out_ = std::tmpfile();
};

TEST_F(ProgressTest, QuietWhenShort) {
  {
    Progress progress("work", 10, options(ProgressOptions::Style::plain));
    for (int i = 0; i < 10; ++i) {
      now_ += 0.19;
      progress.advance();
    }
  }
  EXPECT_EQ(output(), "");
}

TEST_F(ProgressTest, PlainLinesEverySoOften) {
  {
    ProgressOptions plain = options(ProgressOptions::Style::plain);
    plain.unit = "tokens";
    Progress progress("work", 100, plain);
    for (int i = 0; i < 100; ++i) {
      now_ += 0.5;
      progress.advance();
    }
  }
  EXPECT_EQ(output(),
            "work  4%  4/100  2 tokens/s  48 s left\n"
            "work  34%  34/100  2 tokens/s  33 s left\n"
            "work  64%  64/100  2 tokens/s  18 s left\n"
            "work  94%  94/100  2 tokens/s  3.0 s left\n"
            "work  100%  100/100  2 tokens/s  50 s\n");
}

TEST_F(ProgressTest, PlainLinesSayNothingTwice) {
  {
    Progress progress("work", 2, options(ProgressOptions::Style::plain));
    now_ += 4;
    progress.update(2);
    now_ += 0.1;
  }
  EXPECT_EQ(output(), "work  100%  2/2  0.50/s  4.0 s\n");
}

TEST_F(ProgressTest, InPlaceOnATerminal) {
  {
    Progress progress("work", 0, options(ProgressOptions::Style::terminal));
    now_ += 4;
    progress.update(2000, "loss 3.1");
    clear_progress_line();
    clear_progress_line();
    now_ += 4;
    progress.update(4000);
  }
  EXPECT_EQ(output(),
            "\rwork  2.00k  500/s  4.0 s  loss 3.1\x1b[K"
            "\r\x1b[K"
            "\rwork  4.00k  500/s  8.0 s  loss 3.1\x1b[K"
            "\rwork  4.00k  500/s  8.0 s  loss 3.1\x1b[K\n");
}

TEST_F(ProgressTest, ThreadsCountTogether) {
  ProgressOptions silent = options(ProgressOptions::Style::silent);
  silent.now = monotonic_seconds;
  Progress progress("work", 4000, silent);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) progress.advance();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(progress.done(), 4000);
  EXPECT_EQ(output(), "");
}

TEST(Format, Durations) {
  EXPECT_EQ(format_duration(0.04), "0.0 s");
  EXPECT_EQ(format_duration(9.94), "9.9 s");
  EXPECT_EQ(format_duration(9.96), "10 s");
  EXPECT_EQ(format_seconds(0.05), "0.1 s");
  EXPECT_EQ(format_seconds(123.4), "123.4 s");
  EXPECT_EQ(format_duration(59.6), "1 min 00 s");
  EXPECT_EQ(format_duration(185), "3 min 05 s");
  EXPECT_EQ(format_duration(3599.7), "1 h 00 min");
  EXPECT_EQ(format_duration(2 * 3600 + 7 * 60), "2 h 07 min");
  EXPECT_EQ(format_duration(3 * 86400 + 4 * 3600), "3 d 04 h");
  EXPECT_EQ(format_duration(-1), "?");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::infinity()), "?");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::quiet_NaN()), "?");
}

TEST(Format, Counts) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(950), "950");
  EXPECT_EQ(format_count(0.25), "0.25");
  EXPECT_EQ(format_count(999.7), "1.00k");
  EXPECT_EQ(format_count(12345), "12.3k");
  EXPECT_EQ(format_count(999'600), "1.00M");
  EXPECT_EQ(format_count(4.56e6), "4.56M");
  EXPECT_EQ(format_count(-1.5e9), "-1.50G");
  EXPECT_EQ(format_count(std::numeric_limits<double>::infinity()), "?");
}

TEST(Format, Bytes) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.00 KiB");
  EXPECT_EQ(format_bytes(1'048'575), "1.00 MiB");
  EXPECT_EQ(format_bytes(5LL << 30), "5.00 GiB");
  EXPECT_EQ(format_bytes(1000 * 1024), "1000 KiB");
  EXPECT_EQ(format_bytes(INT64_MAX), "8.00 EiB");
  EXPECT_EQ(format_bytes(INT64_MIN), "-8.00 EiB");
}

TEST(Clock, WritesUtc) { EXPECT_EQ(utc_time(1767225599.9), "2025-12-31T23:59:59Z"); }

TEST(Log, GoesToTheFileWhileItLives) {
  const support::TemporaryFolder folder;
  testing::internal::CaptureStderr();
  log_info("before");
  {
    const LogFile file(folder / "log.txt");
    log_warning("inside {} %d");
  }
  {
    const LogFile file(folder / "log.txt");
    log_error("again");
  }
  log_info("after");
  const std::string console = testing::internal::GetCapturedStderr();
  const std::string text = read_text_file(folder / "log.txt", ErrorKind::data);
  for (const char* message : {"before", " W inside {} %d\n", "again", "after"}) {
    EXPECT_NE(console.find(message), std::string::npos) << message << " in " << console;
  }
  for (const char* message : {"inside", "again"}) {
    EXPECT_NE(text.find(message), std::string::npos) << message << " in " << text;
  }
  for (const char* message : {"before", "after"}) {
    EXPECT_EQ(text.find(message), std::string::npos) << message << " in " << text;
  }
}

TEST(Log, AFileThatCannotBeOpenedIsAnError) {
  try {
    const LogFile file("/dev/null/log.txt");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::disk);
  }
}

}  // namespace
}  // namespace ssmax::base
