#pragma once

#include <array>
#include <cstdint>
#include <filesystem>

#include "base/durable_file.h"
#include "base/field.h"
#include "base/json_value.h"

namespace ssmax::train {

enum class MetricsEvent : std::uint8_t { start, swap, step, checkpoint, validation, end };

constexpr auto enum_names(MetricsEvent) {
  return std::to_array<base::EnumName<MetricsEvent>>({{MetricsEvent::start, "start"},
                                                      {MetricsEvent::swap, "swap"},
                                                      {MetricsEvent::step, "step"},
                                                      {MetricsEvent::checkpoint, "checkpoint"},
                                                      {MetricsEvent::validation, "validation"},
                                                      {MetricsEvent::end, "end"}});
}

/// One optimizer step; `step` counts finished steps, so the first is 1.
struct StepMetrics {
  std::int64_t step = 0;
  double loss = 0.0;  ///< mean per token, nats
  double learning_rate = 0.0;
  double gradient_norm = 0.0;  ///< before clipping
  std::int64_t tokens = 0;     ///< trained on since the start of the run
  double tokens_per_second = 0.0;
  double model_flops_utilization = 0.0;  ///< share of the machine's measured matmul limit
  bool skipped = false;                  ///< weights left alone, see optim/spike_guard.h
  // Written for several ranks only, of rank 0:
  int ranks = 1;
  double communication_seconds = 0.0;  ///< that gradients and weights were on their way
  double exposed_seconds = 0.0;        ///< of it, that nothing was computed meanwhile
};

/// One evaluation on the validation shards after `step` steps.
struct ValidationMetrics {
  std::int64_t step = 0;
  double loss = 0.0;        ///< mean per token, nats
  std::int64_t tokens = 0;  ///< that the mean is over
  double seconds = 0.0;
};

/// What opening an old file did with its lines.
struct ResumedMetrics {
  std::int64_t kept = 0;
  std::int64_t dropped = 0;  ///< written after the checkpoint, or `end`
  std::int64_t damaged = 0;  ///< cut or unreadable, dropped too
};

/// A run's metrics.jsonl: one JSON object per line, "event" and "step" first. Numbers round-trip;
/// one that is not finite is null.
///
/// After any number of interruptions the file is, byte for byte, what an uninterrupted run would
/// have written, except for the values of the timing keys "seconds", "tokens_per_second",
/// "model_flops_utilization", "communication_seconds" and "exposed_seconds". Hence:
///   - resume() drops every line beyond its checkpoint and every `end` line;
///   - there is no line for a resume, and no time of day: these go to log.txt;
///   - within a step the order is step, checkpoint, validation;
///   - a `checkpoint` line is written and synced before its checkpoint is committed, and only for
///     checkpoints of the cadence, not for one that a signal asked for;
///   - after resume(k), write the validation of step k only where has() says it is missing.
class MetricsLog {
 public:
  /// An empty file, whatever stood there. Errors here and below: Error(disk).
  static MetricsLog create(const std::filesystem::path& path);
  /// Goes on after checkpoint `step`; a file that is missing counts as empty. The file is replaced
  /// at once: a reader or a crash sees the old or the new one.
  static MetricsLog resume(const std::filesystem::path& path, std::int64_t step);

  void write(const StepMetrics& metrics);
  void write(const ValidationMetrics& metrics);
  /// Any other event with members of its own, an object. Lines come in the order of steps.
  void write(MetricsEvent event, std::int64_t step,
             const base::JsonValue& members = base::JsonValue::object());

  /// Waits until all lines are on the disk; each has been handed to the system already.
  void sync() { file_.sync(); }

  /// Whether the newest step of the file is `step` and has a line of that event.
  bool has(MetricsEvent event, std::int64_t step) const;
  const ResumedMetrics& resumed() const { return resumed_; }

 private:
  explicit MetricsLog(const std::filesystem::path& path) : file_(path) {}

  void remember(MetricsEvent event, std::int64_t step);

  base::AppendFile file_;
  ResumedMetrics resumed_;
  std::int64_t newest_ = 0;  // step
  unsigned events_ = 0;      // of the newest step, one bit each
};

}  // namespace ssmax::train
