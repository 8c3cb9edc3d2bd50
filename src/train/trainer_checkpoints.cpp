#include "base/format.h"
#include "base/log.h"
#include "checkpoint/load.h"
#include "checkpoint/match.h"
#include "comm/agreement.h"
#include "comm/open_nccl.h"
#include "device/cuda_backend.h"
#include "device/gpus.h"
#include "device/launch.h"
#include "device/range.h"
#include "train/trainer.h"

/// How a run begins, goes on from a checkpoint, goes back to one and writes them.
namespace ssmax::train {

namespace {

constexpr char kDataFingerprintChanged[] =
    "the training data differs from what the checkpoint was trained on (fingerprint ";

constexpr char kSkips[] = "spike_guard.skips";
constexpr char kRolledBack[] = "spike_guard.rolled_back";

RunConfig config_of(const checkpoint::LoadedCheckpoint& loaded) {
  return base::parse_config<RunConfig>(loaded.manifest().config,
                                       (loaded.folder() / checkpoint::kManifestName).string());
}

/// A model that computes something else from the same weights must be allowed by name. `otherwise`
/// says how.
void check_model(const RunConfig& saved, const RunConfig& now,
                 std::span<const std::string> allow_change, const char* otherwise) {
  for (const base::ConfigDifference& change : model_changes(saved, now)) {
    if (checkpoint::is_allowed(change.key, allow_change)) continue;
    throw base::Error(base::ErrorKind::checkpoint, "the checkpoint was trained with " + change.key +
                                                       "=" + change.left + ", the config says " +
                                                       change.right + "; " + otherwise);
  }
}

/// Where the run computes, and with training.device=auto why on no GPU; empty in a program that
/// knows none.
std::string device_text(const RunConfig& config, device::Device device) {
  if (!device::is_linked<device::cuda::find_gpus>()) return {};
  std::string text = "on " + device::describe(device);
  if (config.training.device != DeviceChoice::automatic || device.kind != device::DeviceKind::cpu) {
    return text;
  }
  return text + ": " +
         (device::gpus().found.empty() ? device::gpus().reason
                                       : "training.precision=fp64 runs there only");
}

}  // namespace

/// Ranks on other machines may have been given other files.
void Trainer::require_one_run() {
  if (ranks_.size() == 1) return;
  const std::vector<std::string> configs = ranks_.gather_texts(base::config_text(config_));
  for (int rank = 1; rank < ranks_.size(); ++rank) {
    const auto differences = base::config_differences(
        base::parse_config<RunConfig>(configs[0], "the config of rank 0"),
        base::parse_config<RunConfig>(configs[static_cast<std::size_t>(rank)],
                                      "the config of another rank"));
    if (differences.empty()) continue;
    throw comm::SharedError(base::ErrorKind::usage,
                            "the config must be the same on all ranks: " + differences[0].key +
                                " is " + differences[0].left + " on " + ranks_.rank_text(0) + ", " +
                                differences[0].right + " on " + ranks_.rank_text(rank));
  }
  comm::require_same(ranks_, "the program",
                     std::string(base::kVersion) + " (" + base::kGitHash + ")");
  comm::require_same(ranks_, "the fingerprint of data.train", loader_->fingerprint());
  if (validation_loader_) {
    comm::require_same(ranks_, "the fingerprint of data.validation",
                       validation_loader_->fingerprint());
  }
}

/// What gradients and weights go through between ranks; null for a rank alone, unless NCCL is asked
/// for, which a rank alone may try.
std::unique_ptr<comm::Communicator> Trainer::open_channel() {
  const comm::Transport wanted = config_.parallel.transport;
  if (ranks_.size() == 1 && wanted != comm::Transport::nccl) return nullptr;
  const bool on_gpu = seating_.place.device.kind == device::DeviceKind::cuda;
  if (!on_gpu && wanted != comm::Transport::nccl) return ranks_.duplicate();
  const comm::TransportChoice choice =
      comm::alike([&] { return comm::choose_transport(seating_.seats, wanted); });
  if (files_) base::log_info(to_text(seating_, choice));
  if (choice.transport == comm::Transport::host) return ranks_.duplicate();
  return comm::cuda::open_nccl(ranks_, seating_.place.device);
}

void Trainer::begin() {
  comm::together(ranks_, [&] {
    saver_.reserve(checkpoint_files());
    state_->model.parameters().initialize(stream_, static_cast<std::uint64_t>(config_.seed));
  });
  const auto own = static_cast<double>(checkpoint::estimated_bytes(checkpoint_files()));
  std::int64_t checkpoint_bytes = 0;
  for (const double bytes : ranks_.gather_values({&own, 1})) {
    checkpoint_bytes += static_cast<std::int64_t>(bytes);
  }
  comm::together(ranks_, [&] {
    if (!files_) return;
    for (const std::string& warning : store_.prepare(checkpoint_bytes)) base::log_warning(warning);
  });
  const auto newest = newest_checkpoint();
  const bool is_done = newest && newest->manifest().step >= config_.training.steps;
  if (newest) {
    comm::together(ranks_, [&] { resume(*newest); });
  } else if (config_.start.checkpoint.empty()) {
    comm::together(ranks_, [&] { log_start(); });
  } else {
    const auto start = open_on_all([&] { return checkpoint::load(config_.start.checkpoint); });
    comm::together(ranks_, [&] { start_from(*start); });
  }
  comm::together(ranks_, [&] {  // now that this config is known to fit what stands in the folder
    // A run that is done stays as it was trained.
    if (!files_ || (is_done && std::filesystem::exists(folder_ / "config.json"))) return;
    base::write_file_atomically(folder_ / "config.json", base::config_text(config_));
  });
  state_->model.parameters().refresh_compute(stream_);
  if (files_) {
    if (const std::string text = device_text(config_, stream_.device()); !text.empty()) {
      base::log_info(config_.name + ": " + text);
    }
    const double parameters = static_cast<double>(state_->model.parameters().parameter_elements());
    base::log_info(config_.name + ": " + base::format_count(parameters) + " parameters, " +
                   std::to_string(config_.training.batch_sequences) + " x " +
                   std::to_string(config_.data.sequence_length) +
                   " tokens a step in micro-batches of " + std::to_string(plan_.micro_batch) +
                   ", memory " + base::format_bytes(plan_.bytes()) +
                   (ranks_.size() > 1 ? " for rank 0" : "") + ", run folder " + folder_.string());
  }
  if (is_done && files_) {
    base::log_info(config_.name + ": nothing is left to do, the run is at step " +
                   std::to_string(step_) + " and training.steps is " +
                   std::to_string(config_.training.steps) + "; raise it to train on");
  }
  if (step_ >= config_.training.steps && saved_step_ < step_) save();
}

void Trainer::open_metrics(MetricsLog metrics) {
  if (!files_) return;
  files_->metrics.emplace(std::move(metrics));
  files_->tensorboard.emplace(folder_, step_);
}

/// The first line of metrics.jsonl.
void Trainer::log_start() {
  if (!files_) return;
  open_metrics(MetricsLog::create(folder_ / "metrics.jsonl"));
  base::JsonValue members = base::JsonValue::object();
  members.add("name", base::JsonValue::of(config_.name));
  members.add("parameters", base::JsonValue::of(state_->model.parameters().parameter_elements()));
  members.add("tokens_per_step", base::JsonValue::of(config_.tokens_per_step()));
  files_->metrics->write(MetricsEvent::start, step_, members);
}

void Trainer::start_from(const checkpoint::LoadedCheckpoint& loaded) {
  check_model(config_of(loaded), config_, config_.start.allow_change,
              "allow it with start.allow_change");
  const auto report =
      checkpoint::load_parameters(loaded, state_->model.parameters(), config_.start.allow_change);
  if (files_) {
    for (const std::string& warning : loaded.warnings()) base::log_warning(warning);
    base::log_info("starting from " + loaded.folder().string() + "\n" +
                   checkpoint::to_text(report));
  }
  if (config_.start.continue_run) restore(loaded);
  log_start();
  if (!files_) return;
  base::JsonValue members = base::JsonValue::object();
  members.add("checkpoint", base::JsonValue::of(config_.start.checkpoint));
  members.add("loaded", base::JsonValue::of(static_cast<std::int64_t>(report.loaded.size())));
  members.add("created", base::JsonValue::of(static_cast<std::int64_t>(report.created.size())));
  members.add("dropped", base::JsonValue::of(static_cast<std::int64_t>(report.dropped.size())));
  files_->metrics->write(MetricsEvent::swap, step_, members);
}

/// Rank 0 looks for a checkpoint and verifies it; the others open what it found.
std::optional<checkpoint::LoadedCheckpoint> Trainer::open_on_all(
    const std::function<std::optional<checkpoint::LoadedCheckpoint>()>& look) {
  std::optional<checkpoint::LoadedCheckpoint> loaded;
  comm::together(ranks_, [&] {
    if (files_) loaded = look();
  });
  const std::string found = ranks_.broadcast(loaded ? loaded->folder().string() : "");
  comm::together(ranks_, [&] {
    if (!found.empty() && !loaded) loaded.emplace(found, checkpoint::Verify::nothing);
  });
  return loaded;
}

std::optional<checkpoint::LoadedCheckpoint> Trainer::newest_checkpoint() {
  return open_on_all([&] { return checkpoint::load_newest(folder_); });
}

void Trainer::resume(const checkpoint::LoadedCheckpoint& loaded) {
  const RunConfig saved = config_of(loaded);
  check_model(saved, config_, {},
              "use another run folder; to go on there from these weights name this one in "
              "start.checkpoint and the change in start.allow_change");
  checkpoint::load_parameters(loaded, state_->model.parameters());
  restore(loaded);
  saved_step_ = step_;
  if (!files_) return;
  for (const std::string& warning : loaded.warnings()) base::log_warning(warning);
  for (const base::ConfigDifference& change : base::config_differences(saved, config_)) {
    base::log_warning("the config has changed since the checkpoint: " + change.key + " was " +
                      change.left + ", is " + change.right);
  }
  if (loaded.manifest().world_size != ranks_.size()) {
    base::log_warning("the checkpoint was written by " +
                      std::to_string(loaded.manifest().world_size) + " ranks, now there are " +
                      std::to_string(ranks_.size()) +
                      ": the same batches, and the same numbers up to the order of additions");
  }
  open_metrics(MetricsLog::resume(folder_ / "metrics.jsonl", step_));
  base::log_info("resuming at step " + std::to_string(step_) + " from " + loaded.folder().string());
}

void Trainer::restore(const checkpoint::LoadedCheckpoint& loaded) {
  const checkpoint::Manifest& saved = loaded.manifest();
  const auto moments = checkpoint::load_moments(loaded, state_->model.parameters(),
                                                state_->optimizer.flat_first_moment(),
                                                state_->optimizer.flat_second_moment());
  for (std::size_t i = 0; i < moments.step_counts.size(); ++i) {
    state_->optimizer.set_step_count(static_cast<int>(i), moments.step_counts[i]);
  }
  if (files_ && saved.data_fingerprint != loader_->fingerprint()) {
    base::log_warning(kDataFingerprintChanged + saved.data_fingerprint + ", now " +
                      loader_->fingerprint() + "); the order of sequences starts over from it");
  }
  guard_.restore({saved.recent_losses, saved.recent_norms, saved.integer(kSkips),
                  saved.integer(kRolledBack) != 0});
  step_ = saved.step;
  tokens_ = saved.tokens;
  loader_->seek(saved.global_sample_index);
}

void Trainer::roll_back() {
  report_saves(saver_.wait());
  const auto newest = newest_checkpoint();
  if (!newest) {
    throw comm::SharedError(base::ErrorKind::numerics,
                            "loss or gradient norm was not finite " +
                                std::to_string(config_.spike_guard.max_skips) +
                                " steps in a row and there is no checkpoint to go back to; lower "
                                "optimizer.learning_rate");
  }
  const std::int64_t sample = loader_->position();
  if (files_) {
    base::log_warning("going back to " + newest->folder().string() + " after " +
                      std::to_string(config_.spike_guard.max_skips) +
                      " refused steps; the data goes on behind them");
  }
  comm::together(ranks_, [&] {
    checkpoint::load_parameters(*newest, state_->model.parameters());
    restore(*newest);
    if (files_) open_metrics(MetricsLog::resume(folder_ / "metrics.jsonl", step_));
  });
  state_->model.parameters().refresh_compute(stream_);
  loader_->seek(sample);
  saved_step_ = step_;
}

std::vector<checkpoint::TensorFile> Trainer::checkpoint_files() const {
  const params::ParameterSet& set = state_->model.parameters();
  const bool sharded = set.storage().optimizer == params::OptimizerState::sharded;
  std::vector<checkpoint::TensorFile> files;
  if (ranks_.is_root()) {
    files.push_back(
        {checkpoint::kModelFile, set.has_partial_master()
                                     ? checkpoint::model_tensors(set, state_->gathered_master)
                                     : checkpoint::model_tensors(set)});
  }
  if (ranks_.is_root() || sharded) {
    files.push_back({sharded ? checkpoint::optimizer_file_name(ranks_.rank(), ranks_.size())
                             : std::string(checkpoint::kOptimizerFile),
                     checkpoint::moment_tensors(set, state_->optimizer.flat_first_moment(),
                                                state_->optimizer.flat_second_moment())});
  }
  return files;
}

checkpoint::Manifest Trainer::manifest() const {
  checkpoint::Manifest manifest;
  manifest.step = step_;
  manifest.tokens = tokens_;
  manifest.epoch = loader_->epoch();
  manifest.global_sample_index = loader_->position();
  manifest.seed = config_.seed;
  manifest.data_fingerprint = loader_->fingerprint();
  manifest.world_size = ranks_.size();
  manifest.config = base::config_text(config_);
  manifest.recent_losses = guard_.state().losses;
  manifest.recent_norms = guard_.state().norms;
  manifest.state[kSkips] = guard_.state().skips;
  manifest.state[kRolledBack] = std::int64_t{guard_.state().rolled_back};
  checkpoint::add_step_counts(manifest, state_->model.parameters(),
                              state_->optimizer.step_counts());
  return manifest;
}

void Trainer::save() {
  if (saved_step_ == step_) return;
  const device::Range range("checkpoint", step_);
  stream_.synchronize();
  check_replicas(ranks_, state_->model.parameters());
  const params::ParameterSet& set = state_->model.parameters();
  if (set.has_partial_master()) collect_master();
  const bool cadence =
      step_ % config_.checkpoint.every_steps == 0 || step_ >= config_.training.steps;
  if (files_ && cadence) {
    files_->metrics->write(MetricsEvent::checkpoint, step_);
    files_->metrics->sync();
  }
  saver_.start(manifest(), checkpoint_files());
  saved_step_ = step_;
  if (const std::string line = meeting_.straggler(); files_ && !line.empty()) base::log_info(line);
}

/// The master weights of all ranks on rank 0.
void Trainer::collect_master() {
  const params::ParameterSet& set = state_->model.parameters();
  std::int64_t offset = 0;
  for (int section = 0; section < set.sections(); ++section) {
    const params::ElementRange range = set.section(section);
    const std::int64_t part = range.count() / ranks_.size();
    const device::Tensor whole = ranks_.is_root()
                                     ? state_->gathered_master.rows(range.begin, range.count())
                                     : device::Tensor();
    ranks_.collect(stream_, whole, set.flat_master().rows(offset, part));
    offset += part;
  }
}

/// What a run ends with must be on the disk.
void Trainer::finish_saves() {
  std::vector<checkpoint::SaveOutcome> outcomes = saver_.wait();
  if (outcomes.empty() || !outcomes.back().error || outcomes.back().step != step_) {
    return report_saves(outcomes);
  }
  const base::Error error = *outcomes.back().error;
  outcomes.pop_back();
  report_saves(outcomes);
  const std::string message = std::string("the run ends without its last checkpoint: ") +
                              error.what() + "; the same command line then goes on";
  // A rank that is lost is known to those only that waited for it.
  if (error.kind() == base::ErrorKind::hang) throw base::Error(error.kind(), message);
  throw comm::SharedError(error.kind(), message);
}

void Trainer::report_saves(const std::vector<checkpoint::SaveOutcome>& outcomes) {
  if (!files_) return;
  for (const checkpoint::SaveOutcome& outcome : outcomes) {
    if (outcome.error) {
      base::log_error("checkpoint of step " + std::to_string(outcome.step) +
                      " was not written, the one before stays: " + outcome.error->what());
      continue;
    }
    for (const std::string& warning : outcome.report->warnings) base::log_warning(warning);
    base::log_info("saved " + outcome.report->folder.string() + " (" +
                   base::format_bytes(outcome.report->bytes) + ", " +
                   base::format_duration(outcome.seconds) + ")");
  }
}

}  // namespace ssmax::train
