#include "base/progress.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "base/format.h"

namespace ssmax::base {
namespace {

/// The terminal on which a progress line stands now; a message clears that line first.
std::atomic<std::FILE*> line_on{nullptr};

ProgressOptions detected(ProgressOptions options) {
  if (options.style == ProgressOptions::Style::detect) {
    options.style = ::isatty(::fileno(options.out)) == 1 ? ProgressOptions::Style::terminal
                                                         : ProgressOptions::Style::plain;
  }
  return options;
}

}  // namespace

void clear_progress_line() {
  if (std::FILE* out = line_on.exchange(nullptr); out != nullptr) {
    std::fputs("\r\x1b[K", out);
    std::fflush(out);
  }
}

Progress::Progress(std::string label, std::int64_t total, ProgressOptions options)
    : label_(std::move(label)),
      total_(total),
      options_(detected(std::move(options))),
      start_(options_.now()),
      next_(start_ + options_.quiet_seconds) {}

Progress::~Progress() { finish(); }

void Progress::update(std::int64_t done) {
  done_.store(done, std::memory_order_relaxed);
  show_when_due();
}

void Progress::show_when_due() {
  if (options_.style == ProgressOptions::Style::silent) return;
  const double now = options_.now();
  if (now < next_.load(std::memory_order_relaxed)) return;
  // Another thread that shows the line just now is as good.
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (lock.owns_lock() && now >= next_.load() && !finished_) show(now, false);
}

void Progress::update(std::int64_t done, std::string_view detail) {
  {
    const std::lock_guard lock(mutex_);
    detail_ = detail;
  }
  update(done);
}

void Progress::finish() {
  const std::lock_guard lock(mutex_);
  const bool in_place = options_.style == ProgressOptions::Style::terminal;
  if (!finished_ && shown_ >= 0 && (in_place || shown_ != done_)) show(options_.now(), true);
  finished_ = true;
}

std::function<void(std::int64_t, std::int64_t)> byte_progress(std::string label) {
  return [label = std::move(label), progress = std::make_shared<std::optional<Progress>>()](
             std::int64_t done, std::int64_t total) {
    if (!*progress) progress->emplace(label, total, ProgressOptions{.bytes = true});
    (*progress)->update(done);
  };
}

std::string Progress::line() const {
  const std::lock_guard lock(mutex_);
  return line_at(options_.now());
}

std::string Progress::line_at(double now) const {
  const std::int64_t done = done_.load();
  const auto amount = [&](double value) {
    return options_.bytes ? format_bytes(static_cast<std::int64_t>(value)) : format_count(value);
  };
  const auto count = static_cast<double>(done);
  const double elapsed = now - start_;
  const double rate = elapsed > 0.0 ? count / elapsed : 0.0;
  std::string text = label_;
  if (total_ > 0) {
    text +=
        "  " + std::to_string(std::min<std::int64_t>(
                   100, static_cast<std::int64_t>(100.0 * count / static_cast<double>(total_))));
    text += "%  " + amount(count) + '/' + amount(static_cast<double>(total_));
  } else {
    text += "  " + amount(count);
  }
  text += "  " + amount(rate) + (options_.unit.empty() ? "" : ' ' + options_.unit) + "/s";
  if (total_ > 0 && done < total_) {
    const double left = static_cast<double>(total_ - done);
    text += "  " + (rate > 0.0 ? format_duration(left / rate) : std::string("?")) + " left";
  } else {
    text += "  " + format_duration(elapsed);
  }
  if (!detail_.empty()) text += "  " + detail_;
  return text;
}

void Progress::show(double now, bool last) {
  const std::string text = line_at(now);
  if (options_.style == ProgressOptions::Style::terminal) {
    std::fprintf(options_.out, "\r%s\x1b[K%s", text.c_str(), last ? "\n" : "");
    line_on.store(last ? nullptr : options_.out);
    next_.store(now + options_.terminal_seconds);
  } else {
    std::fprintf(options_.out, "%s\n", text.c_str());
    next_.store(now + options_.plain_seconds);
  }
  std::fflush(options_.out);
  shown_ = done_;
}

}  // namespace ssmax::base
