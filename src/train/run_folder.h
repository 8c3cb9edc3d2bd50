#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "checkpoint/lock.h"
#include "train/metrics.h"
#include "train/tensorboard.h"

namespace ssmax::train {

/// Error(usage) when `folder` holds a config.json of something else than a run, such as a Hugging
/// Face model, which a run would replace.
void require_no_other_config(const std::filesystem::path& folder);

/// What rank 0 has open in a run's folder: the lock, log.txt, metrics.jsonl and TensorBoard's
/// events. Other ranks have nothing open there, and what they are told to write is not written. A
/// run that ends before its metrics begin takes away again what opening the folder made, and
/// nothing that was there before.
class RunFolder {
 public:
  /// Touches nothing yet.
  RunFolder(std::filesystem::path path, bool is_root);

  /// Takes the lock and opens the log. Error(usage) when another run is at work here, Error(disk).
  void open();
  /// Metrics of a run that begins with `step` steps done, in place of whatever stood there.
  void start_metrics(std::int64_t step);
  /// Metrics of one that goes on after the checkpoint of `step`: later lines are dropped.
  void resume_metrics(std::int64_t step);

  const std::filesystem::path& path() const { return path_; }
  bool is_open() const { return files_.has_value(); }

  void write(const StepMetrics& metrics);
  void write(const ValidationMetrics& metrics);
  void write(MetricsEvent event, std::int64_t step,
             const base::JsonValue& members = base::JsonValue::object());
  /// Whether metrics.jsonl has that event of its newest step, `step`.
  bool has(MetricsEvent event, std::int64_t step) const;
  /// Until metrics and events are on the disk.
  void sync();

  /// To the log, once for all ranks.
  void log(base::LogLevel level, std::string_view message) const;
  void info(std::string_view message) const { log(base::LogLevel::info, message); }
  void warn(std::string_view message) const { log(base::LogLevel::warning, message); }
  void warn(const std::vector<std::string>& messages) const;

 private:
  struct Files {
    explicit Files(const std::filesystem::path& path);
    ~Files();
    Files(const Files&) = delete;
    Files& operator=(const Files&) = delete;

    std::vector<std::filesystem::path> made;  // by opening, in this order
    checkpoint::RunLock lock;
    std::optional<base::LogFile> log;
    std::optional<MetricsLog> metrics;
    std::optional<TensorboardLog> tensorboard;
  };

  std::filesystem::path metrics_path() const { return path_ / "metrics.jsonl"; }

  std::filesystem::path path_;
  bool is_root_;
  std::optional<Files> files_;  // of rank 0
};

}  // namespace ssmax::train
