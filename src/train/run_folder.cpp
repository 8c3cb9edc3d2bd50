#include "train/run_folder.h"

#include <utility>

#include "base/config.h"
#include "checkpoint/checkpoint_store.h"
#include "train/run_config.h"

namespace ssmax::train {

namespace {

namespace fs = std::filesystem;

/// What taking the lock makes: folders, the outermost first, and the lock's file.
std::vector<fs::path> made_by_locking(const fs::path& run_folder) {
  std::vector<fs::path> made;
  for (fs::path path = fs::absolute(run_folder / checkpoint::kLockName).lexically_normal();
       !fs::exists(fs::symlink_status(path)); path = path.parent_path()) {
    made.insert(made.begin(), path);
  }
  return made;
}

}  // namespace

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

RunFolder::Files::Files(const fs::path& path) : made(made_by_locking(path)), lock(path) {
  // Asked with the lock held: until then another run may have made them, and they are its own.
  const fs::path log_path = path / "log.txt";
  for (const fs::path& own : {log_path, checkpoint::checkpoints_folder(path)}) {
    if (!fs::exists(fs::symlink_status(own))) made.push_back(own);
  }
  log.emplace(log_path);
}

RunFolder::Files::~Files() {
  if (metrics) return;
  // A folder that somebody put something into stays.
  std::error_code ignored;
  for (auto path = made.rbegin(); path != made.rend(); ++path) fs::remove(*path, ignored);
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
