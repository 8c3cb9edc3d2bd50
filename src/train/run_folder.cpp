#include "train/run_folder.h"

#include <utility>

#include "base/config.h"
#include "train/run_config.h"

namespace ssmax::train {

void require_no_other_config(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "config.json";
  if (!std::filesystem::exists(file)) return;
  try {
    base::load_config<RunConfig>(file, {});
  } catch (const base::Error& error) {
    if (error.kind() != base::ErrorKind::usage) throw;
    throw base::Error(base::ErrorKind::usage, file.string() +
                                                  " is no config of a run, which would take its "
                                                  "place; choose another folder (" +
                                                  error.what() + ")");
  }
}

RunFolder::RunFolder(std::filesystem::path path, bool is_root)
    : path_(std::move(path)), is_root_(is_root) {}

void RunFolder::open() {
  if (is_root_) files_.emplace(path_);
}

void RunFolder::start_metrics(std::int64_t step) {
  if (!files_) return;
  files_->metrics.emplace(MetricsLog::create(metrics_path()));
  files_->tensorboard.emplace(path_, step);
}

void RunFolder::resume_metrics(std::int64_t step) {
  if (!files_) return;
  files_->metrics.emplace(MetricsLog::resume(metrics_path(), step));
  files_->tensorboard.emplace(path_, step);
  if (const std::int64_t damaged = files_->metrics->resumed().damaged; damaged > 0) {
    warn(metrics_path().string() +
         ": left out what could not be read, lines: " + std::to_string(damaged));
  }
}

void RunFolder::write(const StepMetrics& metrics) {
  if (!files_) return;
  files_->metrics->write(metrics);
  files_->tensorboard->write(metrics);
}

void RunFolder::write(const ValidationMetrics& metrics) {
  if (!files_) return;
  files_->metrics->write(metrics);
  files_->tensorboard->write(metrics);
}

void RunFolder::write(MetricsEvent event, std::int64_t step, const base::JsonValue& members) {
  if (files_) files_->metrics->write(event, step, members);
}

bool RunFolder::has(MetricsEvent event, std::int64_t step) const {
  return files_ && files_->metrics->has(event, step);
}

void RunFolder::sync() {
  if (!files_) return;
  files_->metrics->sync();
  files_->tensorboard->sync();
}

void RunFolder::log(base::LogLevel level, std::string_view message) const {
  if (files_) base::log(level, message);
}

void RunFolder::warn(const std::vector<std::string>& messages) const {
  for (const std::string& message : messages) warn(message);
}

}  // namespace ssmax::train
