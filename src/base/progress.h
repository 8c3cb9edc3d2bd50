#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace ssmax::base {

/// How a Progress shows itself; the defaults fit a person at a terminal or a log file.
struct ProgressOptions {
  std::FILE* out = stderr;
  enum class Style { detect, terminal, plain, silent } style = Style::detect;
  std::string unit = {};          // "tokens", "files": after the rate; none without
  bool bytes = false;             // counts are bytes
  double quiet_seconds = 2.0;     // what is over by then prints nothing
  double terminal_seconds = 0.1;  // between two updates in place
  double plain_seconds = 15.0;    // between two lines where there is no terminal
  std::function<double()> now = monotonic_seconds;
};

/// One line about work that may take long: done, total, rate and time left. Updated in place on a
/// terminal, a plain line every so often elsewhere. All calls may come from any thread.
///   encoding  41%  1.23G/3.00G  12.5M tokens/s  2 min 21 s left
class Progress {
 public:
  /// `total` 0 means unknown: no share and no time left.
  Progress(std::string label, std::int64_t total, ProgressOptions options = {});
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// finish().
  ~Progress();

  void advance(std::int64_t count = 1) {
    done_.fetch_add(count, std::memory_order_relaxed);
    show_when_due();
  }
  /// Says how much is done. `detail` replaces the text after the time left.
  void update(std::int64_t done);
  void update(std::int64_t done, std::string_view detail);
  /// The last line, if any was shown before; later calls do nothing.
  void finish();

  std::int64_t done() const { return done_; }
  /// The line as it would be shown now.
  std::string line() const;

 private:
  void show_when_due();
  std::string line_at(double now) const;
  void show(double now, bool last);

  const std::string label_;
  const std::int64_t total_;
  const ProgressOptions options_;
  const double start_;
  std::atomic<std::int64_t> done_{0};
  std::atomic<double> next_;
  mutable std::mutex mutex_;  // of what follows, and of the output
  std::string detail_;
  std::int64_t shown_ = -1;  // how much was done in the line shown last; < 0: none was
  bool finished_ = false;
};

/// A progress line of bytes for work that says its total when it is under way: called with what is
/// done and all; the line ends when the last copy of the function goes.
std::function<void(std::int64_t done, std::int64_t total)> byte_progress(std::string label);

/// Clears a progress line that stands on the terminal, so that a message can take its place; the
/// next update draws it again.
void clear_progress_line();

}  // namespace ssmax::base
