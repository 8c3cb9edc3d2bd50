#include <algorithm>
#include <string>
#include <vector>

#include "base/durable_file.h"
#include "base/format.h"
#include "checkpoint/load.h"
#include "checkpoint/match.h"
#include "comm/agreement.h"
#include "corpus/documents.h"
#include "corpus/tokenizer.h"
#include "train/trainer.h"

/// How a run begins, goes on from a checkpoint and goes back to one.
namespace ssmax::train {

namespace {

constexpr char kRolledBack[] = "spike_guard.rolled_back";

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

/// Ranks on other machines may have been given other files.
void require_one_run(comm::Communicator& ranks, const RunConfig& config,
                     const corpus::Loader& loader, const std::optional<Validation>& validation) {
  if (ranks.size() == 1) return;
  const std::vector<std::string> configs = ranks.gather_texts(base::config_text(config));
  for (int rank = 1; rank < ranks.size(); ++rank) {
    const auto differences = base::config_differences(
        base::parse_config<RunConfig>(configs[0], "the config of rank 0"),
        base::parse_config<RunConfig>(configs[static_cast<std::size_t>(rank)],
                                      "the config of another rank"));
    if (differences.empty()) continue;
    throw comm::SharedError(base::ErrorKind::usage,
                            "the config must be the same on all ranks: " + differences[0].key +
                                " is " + differences[0].left + " on " + ranks.rank_text(0) + ", " +
                                differences[0].right + " on " + ranks.rank_text(rank));
  }
  comm::require_same(ranks, "the program",
                     std::string(base::kVersion) + " (" + base::kGitHash + ")");
  comm::require_same(ranks, "the fingerprint of data.train", loader.fingerprint());
  if (validation) {
    comm::require_same(ranks, "the fingerprint of data.validation", validation->fingerprint());
  }
}

/// What the run is, for the log.
std::string summary(const RunConfig& config, const MemoryPlan& plan, std::int64_t parameters,
                    int ranks) {
  return base::format_count(static_cast<double>(parameters)) + " parameters, " +
         std::to_string(config.training.steps) +
         (config.training.epochs > 0 ? " steps by training.epochs of " : " steps of ") +
         std::to_string(config.training.batch_sequences) + " x " +
         std::to_string(config.data.sequence_length) + " tokens in micro-batches of " +
         std::to_string(plan.micro_batch) + ", memory " + base::format_bytes(plan.bytes()) +
         (ranks > 1 ? " for rank 0" : "");
}

/// The tokenizer of the data, so that the run's folder alone is enough to read what the model
/// writes.
void keep_tokenizer(const RunFolder& folder, const RunConfig& config) {
  namespace fs = std::filesystem;
  std::string name = config.data.tokenizer;
  if (name.empty()) {
    const fs::path beside = fs::path(corpus::expand_globs(config.data.train).front())
                                .replace_filename(corpus::kTokenizerFile);
    if (!fs::exists(beside)) return;
    name = beside.string();
  }
  try {
    const corpus::Tokenizer tokenizer = corpus::Tokenizer::named(name);
    const fs::path file = folder.path() / corpus::kTokenizerFile;
    if (tokenizer.vocab_size() > config.model.vocab_size) return;
    if (!fs::exists(file)) return tokenizer.write_json(file);
    if (corpus::Tokenizer::load(file).hash() == tokenizer.hash()) return;
    folder.warn(file.string() + " stays, the data is of another tokenizer: " + name);
  } catch (const base::Error& error) {
    if (error.kind() != base::ErrorKind::data) throw;
    folder.warn("no tokenizer is kept in the run's folder: " + std::string(error.what()));
  }
}

base::JsonValue count_of(std::size_t tensors) {
  return base::JsonValue::of(static_cast<std::int64_t>(tensors));
}

}  // namespace

void Trainer::begin() {
  require_one_run(ranks_, config_, *loader_, validation_);
  exchange_.emplace(open_channel(config_, seating_, ranks_), state_->model.parameters(),
                    config_.parallel.reduction);
  checkpoints_.prepare(state_->checkpoint_files());
  const auto newest = checkpoints_.newest();
  const bool is_done = newest && newest->manifest().step >= config_.training.steps;
  const auto given = newest ? std::nullopt : checkpoints_.load(config_.start.checkpoint);
  comm::together(ranks_, [&] {
    state_->model.parameters().initialize(stream_, static_cast<std::uint64_t>(config_.seed));
    if (newest) {
      resume(*newest);
    } else if (given) {
      start_from(*given);
    } else {
      start();
    }
    // Now that this config is known to fit what stands in the folder. A run that is done stays as
    // it was trained.
    const std::filesystem::path file = folder_.path() / "config.json";
    if (!folder_.is_open() || (is_done && std::filesystem::exists(file))) return;
    base::write_file_atomically(file, base::config_text(config_));
    keep_tokenizer(folder_, config_);
  });
  state_->model.parameters().refresh_compute(stream_);
  introduce(is_done);
  if (step_ >= config_.training.steps && saved_step_ < step_) save();
}

/// Says in the log what the run is, and what may be wrong with it.
void Trainer::introduce(bool is_done) const {
  if (const std::string text = device_text(config_, seating_.place.device); !text.empty()) {
    folder_.info(config_.name + ": " + text);
  }
  folder_.info(
      config_.name + ": " +
      summary(config_, plan_, state_->model.parameters().parameter_elements(), ranks_.size()) +
      ", run folder " + folder_.path().string());
  if (validation_ && ranks_.is_root()) {
    for (const std::filesystem::path& file :
         corpus::shared_files(corpus::expand_globs(config_.data.validation),
                              corpus::expand_globs(config_.data.train))) {
      folder_.warn("data.validation: " + file.string() +
                   " is in data.train too, so that its loss is of text that the run learns");
    }
  }
  if (is_done) {
    folder_.info(config_.name + ": nothing is left to do, the run is at step " +
                 std::to_string(step_) + " of " + std::to_string(config_.training.steps) +
                 "; raise " + (config_.training.epochs > 0 ? "training.epochs" : "training.steps") +
                 " to train on");
  }
}

/// With the first line of metrics.jsonl.
void Trainer::start() {
  folder_.start_metrics(step_);
  base::JsonValue members = base::JsonValue::object();
  members.add("name", base::JsonValue::of(config_.name));
  members.add("parameters", base::JsonValue::of(state_->model.parameters().parameter_elements()));
  members.add("tokens_per_step", base::JsonValue::of(config_.tokens_per_step()));
  folder_.write(MetricsEvent::start, step_, members);
}

void Trainer::start_from(const checkpoint::LoadedCheckpoint& loaded) {
  check_model(saved_config(loaded), config_, config_.start.allow_change,
              "allow it with start.allow_change");
  const auto report =
      checkpoint::load_parameters(loaded, state_->model.parameters(), config_.start.allow_change);
  folder_.warn(loaded.warnings());
  folder_.info("starting from " + loaded.folder().string() + "\n" + checkpoint::to_text(report));
  if (config_.start.continue_run) restore(loaded);
  start();
  base::JsonValue members = base::JsonValue::object();
  members.add("checkpoint", base::JsonValue::of(config_.start.checkpoint));
  members.add("loaded", count_of(report.loaded.size()));
  members.add("created", count_of(report.created.size()));
  members.add("dropped", count_of(report.dropped.size()));
  folder_.write(MetricsEvent::swap, step_, members);
}

void Trainer::resume(const checkpoint::LoadedCheckpoint& loaded) {
  const RunConfig saved = saved_config(loaded);
  check_model(saved, config_, {},
              "use another run folder; to go on there from these weights name this one in "
              "start.checkpoint and the change in start.allow_change");
  checkpoint::load_parameters(loaded, state_->model.parameters());
  restore(loaded);
  folder_.warn(loaded.warnings());
  for (const base::ConfigDifference& change : base::config_differences(saved, config_)) {
    folder_.warn("the config has changed since the checkpoint: " + change.key + " was " +
                 change.left + ", is " + change.right);
  }
  if (loaded.manifest().world_size != ranks_.size()) {
    folder_.warn("the checkpoint was written by " + std::to_string(loaded.manifest().world_size) +
                 " ranks, now there are " + std::to_string(ranks_.size()) +
                 ": the same batches, and the same numbers up to the order of additions");
  }
  const std::int64_t micro_batch = loaded.manifest().integer(kMicroBatch, plan_.micro_batch);
  if (micro_batch != plan_.micro_batch && loaded.manifest().world_size == ranks_.size()) {
    folder_.warn("micro-batches had " + std::to_string(micro_batch) +
                 " sequences when the checkpoint was written, now they have " +
                 std::to_string(plan_.micro_batch) +
                 ": the same batches, and the same numbers up to the order of additions");
  }
  folder_.resume_metrics(step_);
  saved_step_ = step_;
  folder_.info("resuming at step " + std::to_string(step_) + " from " + loaded.folder().string());
}

void Trainer::roll_back() {
  checkpoints_.wait();
  // One that a stop left within the refused steps has the weights that they refuse.
  auto newest = checkpoints_.newest_accepted();
  if (!newest) newest = checkpoints_.newest();
  const std::string skips = std::to_string(config_.spike_guard.max_skips);
  if (!newest) {
    throw comm::SharedError(base::ErrorKind::numerics,
                            "loss or gradient norm was not finite " + skips +
                                " steps in a row and there is no checkpoint to go back to; lower "
                                "optimizer.learning_rate");
  }
  const std::int64_t sample = loader_->position();
  folder_.warn("going back to " + newest->folder().string() + " after " + skips +
               " refused steps; the data goes on behind them");
  comm::together(ranks_, [&] {
    checkpoint::load_parameters(*newest, state_->model.parameters());
    restore(*newest);
    folder_.resume_metrics(step_);
  });
  state_->model.parameters().refresh_compute(stream_);
  loader_->seek(sample);
  saved_step_ = step_;
}

/// Everything but the weights.
void Trainer::restore(const checkpoint::LoadedCheckpoint& loaded) {
  const checkpoint::Manifest& saved = loaded.manifest();
  state_->optimizer.set_step_counts(checkpoint::load_moments(
      loaded, state_->model.parameters(), state_->optimizer.flat_first_moment(),
      state_->optimizer.flat_second_moment()));
  if (!saved.data_fingerprint.empty() && saved.data_fingerprint != loader_->fingerprint()) {
    folder_.warn("the training data differs from what the checkpoint was trained on (fingerprint " +
                 saved.data_fingerprint + ", now " + loader_->fingerprint() +
                 "); the order of sequences starts over from it");
  }
  // An imported model has no guard's past.
  guard_.restore({saved.recent_losses, saved.recent_norms, saved.integer(kSkips, 0),
                  saved.integer(kRolledBack, 0) != 0});
  step_ = saved.step;
  tokens_ = saved.tokens;
  loader_->seek(saved.global_sample_index);
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
  manifest.state[kMicroBatch] = plan_.micro_batch;
  manifest.state[kOnGpu] = std::int64_t{seating_.place.is_on_gpu()};
  checkpoint::add_step_counts(manifest, state_->model.parameters(),
                              state_->optimizer.step_counts());
  return manifest;
}

}  // namespace ssmax::train
