#include "app/write_run.h"

#include <utility>

#include "base/durable_file.h"
#include "base/log.h"
#include "checkpoint/lock.h"
#include "train/run_folder.h"

namespace ssmax::app {

namespace {

void warn(const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings) base::log_warning(warning);
}

}  // namespace

std::string name_of_run(const std::filesystem::path& folder) {
  const std::filesystem::path name = std::filesystem::absolute(folder).lexically_normal();
  return (name.has_filename() ? name : name.parent_path()).filename().string();
}

checkpoint::SaveReport write_run(const std::filesystem::path& folder,
                                 const train::RunConfig& config, checkpoint::Manifest manifest,
                                 const std::vector<checkpoint::TensorFile>& files) {
  train::require_no_other_config(folder);
  const checkpoint::RunLock lock(folder);
  const checkpoint::CheckpointStore store(folder, config.checkpoint.keep);
  warn(store.prepare(checkpoint::estimated_bytes(files)));
  manifest.config = base::config_text(config);
  const checkpoint::SaveReport saved = store.save(std::move(manifest), files);
  warn(saved.warnings);
  base::write_file_atomically(folder / "config.json", base::config_text(config));
  return saved;
}

}  // namespace ssmax::app
