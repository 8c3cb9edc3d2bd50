#include "train/run_checkpoints.h"

#include <string>
#include <utility>

#include "base/format.h"
#include "comm/agreement.h"

namespace ssmax::train {

RunCheckpoints::RunCheckpoints(const RunFolder& folder, std::int64_t keep,
                               comm::Communicator& ranks, double timeout_seconds)
    : folder_(folder),
      ranks_(ranks),
      saver_ranks_(ranks.duplicate()),
      store_(folder.path(), keep),
      saver_(store_, *saver_ranks_) {
  saver_ranks_->set_timeout(timeout_seconds);
}

void RunCheckpoints::prepare(const std::vector<checkpoint::TensorFile>& files) {
  comm::together(ranks_, [&] { saver_.reserve(files); });
  const auto own = static_cast<double>(checkpoint::estimated_bytes(files));
  std::int64_t bytes = 0;
  for (const double rank : ranks_.gather_values({&own, 1})) {
    bytes += static_cast<std::int64_t>(rank);
  }
  comm::together(ranks_, [&] {
    if (ranks_.is_root()) folder_.warn(store_.prepare(bytes));
  });
}

std::optional<checkpoint::LoadedCheckpoint> RunCheckpoints::newest() {
  return open_on_all([&] { return checkpoint::load_newest(folder_.path()); });
}

std::optional<checkpoint::LoadedCheckpoint> RunCheckpoints::newest_accepted() {
  return open_on_all([&] {
    return checkpoint::load_newest(
        folder_.path(), checkpoint::Verify::hashes,
        [](const checkpoint::Manifest& manifest) { return manifest.integer(kSkips, 0) == 0; });
  });
}

std::int64_t RunCheckpoints::micro_batch(const RunConfig& config, const Place& place) {
  double sequences = 0.0;
  comm::together(ranks_, [&] {
    if (!ranks_.is_root()) return;
    try {
      const auto newest = checkpoint::load_newest(folder_.path(), checkpoint::Verify::nothing);
      if (!newest) return;
      const checkpoint::Manifest& manifest = newest->manifest();
      const RunConfig saved = saved_config(*newest);
      const bool same = manifest.world_size == place.ranks &&
                        manifest.integer(kOnGpu, 0) == std::int64_t{place.is_on_gpu()} &&
                        saved.training.batch_sequences == config.training.batch_sequences &&
                        saved.data.sequence_length == config.data.sequence_length;
      if (same) sequences = static_cast<double>(manifest.integer(kMicroBatch, 0));
    } catch (const base::Error& error) {
      // The folder is not locked yet; who resumes from it finds out what is wrong.
      if (error.kind() != base::ErrorKind::checkpoint) throw;
    }
  });
  return static_cast<std::int64_t>(ranks_.gather_values({&sequences, 1}).front());
}

std::optional<checkpoint::LoadedCheckpoint> RunCheckpoints::load(const std::string& path) {
  if (path.empty()) return std::nullopt;
  return open_on_all([&] { return checkpoint::load(path); });
}

std::optional<checkpoint::LoadedCheckpoint> RunCheckpoints::open_on_all(
    const std::function<std::optional<checkpoint::LoadedCheckpoint>()>& look) {
  std::optional<checkpoint::LoadedCheckpoint> loaded;
  comm::together(ranks_, [&] {
    if (ranks_.is_root()) loaded = look();
  });
  const std::string found = ranks_.broadcast(loaded ? loaded->folder().string() : "");
  comm::together(ranks_, [&] {
    if (!found.empty() && !loaded) loaded.emplace(found, checkpoint::Verify::nothing);
  });
  return loaded;
}

void RunCheckpoints::save(checkpoint::Manifest manifest,
                          const std::vector<checkpoint::TensorFile>& files) {
  saver_.start(std::move(manifest), files);
}

void RunCheckpoints::report() { report(saver_.poll()); }

void RunCheckpoints::wait() { report(saver_.wait()); }

void RunCheckpoints::finish() {
  std::vector<checkpoint::SaveOutcome> outcomes = saver_.wait();
  if (outcomes.empty() || !outcomes.back().error) return report(outcomes);
  const base::Error error = *outcomes.back().error;
  outcomes.pop_back();
  report(outcomes);
  const std::string message = std::string("the run ends without its last checkpoint: ") +
                              error.what() + "; the same command line then goes on";
  // A rank that is lost is known to those only that waited for it.
  if (error.kind() == base::ErrorKind::hang) throw base::Error(error.kind(), message);
  throw comm::SharedError(error.kind(), message);
}

void RunCheckpoints::report(const std::vector<checkpoint::SaveOutcome>& outcomes) const {
  for (const checkpoint::SaveOutcome& outcome : outcomes) {
    if (outcome.error) {
      folder_.log(base::LogLevel::error, outcome.error->what());
      continue;
    }
    folder_.warn(outcome.report->warnings);
    folder_.info("saved " + outcome.report->folder.string() + " (" +
                 base::format_bytes(outcome.report->bytes) + ", " +
                 base::format_duration(outcome.seconds) + ")");
  }
}

}  // namespace ssmax::train
