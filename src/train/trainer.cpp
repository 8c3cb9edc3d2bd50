#include "train/trainer.h"

#include <cmath>
#include <csignal>
#include <utility>

#include "base/format.h"
#include "base/log.h"
#include "base/progress.h"
#include "checkpoint/load.h"
#include "checkpoint/match.h"
#include "kernels/linear/matmul_limit.h"
#include "kernels/loss_total/loss_total.h"
#include "optim/schedule.h"

namespace ssmax::train {

namespace {

constexpr char kDataFingerprintChanged[] =
    "the training data differs from what the checkpoint was trained on (fingerprint ";

constexpr char kSkips[] = "spike_guard.skips";
constexpr char kRolledBack[] = "spike_guard.rolled_back";

corpus::LoaderOptions training_loader(const RunConfig& config, std::int64_t batch) {
  corpus::LoaderOptions options =
      corpus::sequential_loader(config.data, config.data.train, config.model.vocab_size, batch);
  options.seed = static_cast<std::uint64_t>(config.seed);
  if (config.data.shuffle) options.order = corpus::Order::shuffled;
  return options;
}

std::string detail_of(const StepMetrics& metrics, std::int64_t steps) {
  char text[200];
  std::snprintf(
      text, sizeof(text),
      "step %lld/%lld  loss %.4f  lr %.2e  norm %.3f  %s tokens/s  %.0f %% of matmul limit",
      static_cast<long long>(metrics.step), static_cast<long long>(steps), metrics.loss,
      metrics.learning_rate, metrics.gradient_norm,
      base::format_count(metrics.tokens_per_second).c_str(),
      100.0 * metrics.model_flops_utilization);
  return text;
}

RunConfig config_of(const checkpoint::LoadedCheckpoint& loaded) {
  return base::parse_config<RunConfig>(loaded.manifest().config,
                                       (loaded.folder() / checkpoint::kManifestName).string());
}

/// A model that computes something else from the same weights must be allowed by name.
void check_model(const RunConfig& saved, const RunConfig& now,
                 std::span<const std::string> allow_change) {
  for (const base::ConfigDifference& change : model_changes(saved, now)) {
    if (checkpoint::is_allowed(change.key, allow_change)) continue;
    throw base::Error(base::ErrorKind::checkpoint,
                      "the checkpoint was trained with " + change.key + "=" + change.left +
                          ", the config says " + change.right +
                          "; allow it with start.allow_change, or use another run folder");
  }
}

std::string step_text(std::int64_t step) { return "step " + std::to_string(step); }

}  // namespace

std::int64_t training_samples(const RunConfig& config) {
  return corpus::Loader(training_loader(config, 1)).samples();
}

Trainer::Trainer(const RunConfig& config, const std::filesystem::path& folder)
    : config_(config),
      folder_(folder),
      plan_(choose_micro_batch(config_)),
      lock_(folder),
      log_file_(folder / "log.txt"),
      store_(folder, config_.checkpoint.keep),
      state_(config_, plan_.micro_batch, arena_),
      loader_(training_loader(config_, plan_.micro_batch)),
      guard_(config_.spike_guard),
      saver_(store_) {
  config_ = config_.with_epochs(loader_.samples());
  if (!config_.data.validation.empty()) {
    validation_loader_.emplace(corpus::sequential_loader(
        config_.data, config_.data.validation, config_.model.vocab_size, plan_.micro_batch));
  }
  begin();
}

Trainer::~Trainer() = default;

void Trainer::run(const StopSignals& signals, Watchdog& watchdog) {
  const Watchdog::Section section(watchdog, "training", config_.training.hang_timeout_seconds);
  base::ProgressOptions options;
  options.unit = "steps";
  base::Progress progress(config_.name, config_.training.steps - step_, options);
  const std::int64_t first = step_;
  if (step_ > 0 && validation_due()) validate();
  while (step_ < config_.training.steps) {
    base::Stopwatch watch;
    const StepReport report = base::within(step_text(step_ + 1), [&] { return step(watchdog); });
    if (report.verdict == optim::Verdict::roll_back) {
      roll_back();
      continue;
    }
    record(report, watch.seconds());
    report_saves(saver_.poll());
    watchdog.beat();
    progress.update(step_ - first, last_detail_);
    if (step_ % config_.checkpoint.every_steps == 0 || step_ == config_.training.steps) save();
    if (validation_due()) validate();
    if (signals.requested() != 0 && step_ < config_.training.steps) stop(signals.requested());
  }
  progress.finish();
  finish();
}

StepReport Trainer::step(Watchdog& watchdog) {
  StepReport report;
  report.learning_rate = optim::learning_rate(config_.schedule, config_.optimizer.learning_rate,
                                              step_, config_.training.steps);
  forward_backward(watchdog);
  state_.optimizer.measure(stream_);
  const optim::StepNorms norms = state_.optimizer.read(stream_);
  const double* total = state_.loss_total.data<double>();
  report.loss = total[0] / total[1];
  report.gradient_norm = norms.gradient_norm;
  report.verdict = guard_.judge(report.loss, report.gradient_norm);
  if (report.verdict == optim::Verdict::accept)
    state_.optimizer.update(stream_, report.learning_rate);
  ++step_;
  return report;
}

void Trainer::forward_backward(Watchdog& watchdog) {
  const std::int64_t micro_batches = config_.training.batch_sequences / plan_.micro_batch;
  const double loss_scale =
      1.0 / static_cast<double>(loader_.targets(config_.training.batch_sequences));
  device::fill_zero(stream_, state_.model.parameters().flat_gradients());
  device::fill_zero(stream_, state_.loss_total);
  for (std::int64_t micro = 0; micro < micro_batches; ++micro) {
    const model::TokenBatch batch = evaluation::upload(stream_, loader_.next(), state_.tokens,
                                                       state_.targets, state_.first_key);
    state_.model.forward_for_training(stream_, state_.activations, batch, loss_scale);
    state_.model.backward(stream_, state_.activations, batch, {});
    const device::Shape rows{state_.activations.rows()};
    kernels::add_loss_total(stream_, state_.loss_total, state_.activations.losses,
                            batch.targets.reshaped(rows));
    watchdog.beat();
  }
}

void Trainer::begin() {
  base::write_file_atomically(folder_ / "config.json", base::config_text(config_));
  for (const std::string& warning :
       store_.prepare(checkpoint::estimated_bytes(checkpoint_files()))) {
    base::log_warning(warning);
  }
  saver_.reserve(checkpoint_files());
  state_.model.parameters().initialize(stream_, static_cast<std::uint64_t>(config_.seed));
  const bool bf16 = config_.training.precision == Precision::bf16;
  matmul_limit_ = 1e9 * kernels::measured_matmul_limit(
                            stream_, bf16 ? device::DType::bf16 : device::DType::f32);

  if (const auto newest = checkpoint::load_newest(folder_)) {
    resume(*newest);
  } else {
    metrics_.emplace(MetricsLog::create(folder_ / "metrics.jsonl"));
    base::JsonValue members = base::JsonValue::object();
    members.add("name", base::JsonValue::of(config_.name));
    members.add("parameters", base::JsonValue::of(state_.model.parameters().parameter_elements()));
    members.add("tokens_per_step", base::JsonValue::of(config_.tokens_per_step()));
    if (config_.start.checkpoint.empty()) {
      metrics_->write(MetricsEvent::start, step_, members);
    } else {
      start_from_checkpoint(members);
    }
    tensorboard_.emplace(folder_, step_);
  }
  state_.model.parameters().refresh_compute(stream_);
  base::log_info(
      config_.name + ": " +
      base::format_count(static_cast<double>(state_.model.parameters().parameter_elements())) +
      " parameters, " + std::to_string(config_.training.batch_sequences) + " x " +
      std::to_string(config_.data.sequence_length) + " tokens a step in micro-batches of " +
      std::to_string(plan_.micro_batch) + ", memory " + base::format_bytes(plan_.bytes()) +
      ", run folder " + folder_.string());
  if (step_ >= config_.training.steps && saved_step_ < step_) save();
}

void Trainer::start_from_checkpoint(const base::JsonValue& start_members) {
  const checkpoint::LoadedCheckpoint loaded = checkpoint::load(config_.start.checkpoint);
  for (const std::string& warning : loaded.warnings()) base::log_warning(warning);
  check_model(config_of(loaded), config_, config_.start.allow_change);
  const auto report =
      checkpoint::load_parameters(loaded, state_.model.parameters(), config_.start.allow_change);
  base::log_info("starting from " + loaded.folder().string() + "\n" + checkpoint::to_text(report));
  if (config_.start.continue_run) restore(loaded);
  base::JsonValue members = base::JsonValue::object();
  members.add("checkpoint", base::JsonValue::of(config_.start.checkpoint));
  members.add("loaded", base::JsonValue::of(static_cast<std::int64_t>(report.loaded.size())));
  members.add("created", base::JsonValue::of(static_cast<std::int64_t>(report.created.size())));
  members.add("dropped", base::JsonValue::of(static_cast<std::int64_t>(report.dropped.size())));
  metrics_->write(MetricsEvent::start, step_, start_members);
  metrics_->write(MetricsEvent::swap, step_, members);
}

void Trainer::resume(const checkpoint::LoadedCheckpoint& loaded) {
  for (const std::string& warning : loaded.warnings()) base::log_warning(warning);
  const RunConfig saved = config_of(loaded);
  check_model(saved, config_, {});
  for (const base::ConfigDifference& change : base::config_differences(saved, config_)) {
    base::log_warning("the config has changed since the checkpoint: " + change.key + " was " +
                      change.left + ", is " + change.right);
  }
  checkpoint::load_parameters(loaded, state_.model.parameters());
  restore(loaded);
  saved_step_ = step_;
  metrics_.emplace(MetricsLog::resume(folder_ / "metrics.jsonl", step_));
  tensorboard_.emplace(folder_, step_);
  base::log_info("resuming at step " + std::to_string(step_) + " from " + loaded.folder().string());
}

void Trainer::restore(const checkpoint::LoadedCheckpoint& loaded) {
  const checkpoint::Manifest& saved = loaded.manifest();
  const auto moments = checkpoint::load_moments(loaded, state_.model.parameters(),
                                                state_.optimizer.flat_first_moment(),
                                                state_.optimizer.flat_second_moment());
  for (std::size_t i = 0; i < moments.step_counts.size(); ++i) {
    state_.optimizer.set_step_count(static_cast<int>(i), moments.step_counts[i]);
  }
  if (saved.data_fingerprint != loader_.fingerprint()) {
    base::log_warning(kDataFingerprintChanged + saved.data_fingerprint + ", now " +
                      loader_.fingerprint() + "); the order of sequences starts over from it");
  }
  guard_.restore({saved.recent_losses, saved.recent_norms, saved.integer(kSkips),
                  saved.integer(kRolledBack) != 0});
  step_ = saved.step;
  loader_.seek(saved.global_sample_index);
}

void Trainer::roll_back() {
  saver_.wait();
  const auto newest = checkpoint::load_newest(folder_);
  if (!newest) {
    throw base::Error(base::ErrorKind::numerics,
                      "loss or gradient norm was not finite " +
                          std::to_string(config_.spike_guard.max_skips) +
                          " steps in a row and there is no checkpoint to go back to; lower "
                          "optimizer.learning_rate");
  }
  const std::int64_t sample = loader_.position();
  base::log_warning("going back to " + newest->folder().string() + " after " +
                    std::to_string(config_.spike_guard.max_skips) +
                    " refused steps; the data goes on behind them");
  checkpoint::load_parameters(*newest, state_.model.parameters());
  restore(*newest);
  state_.model.parameters().refresh_compute(stream_);
  loader_.seek(sample);
  saved_step_ = step_;
  metrics_.emplace(MetricsLog::resume(folder_ / "metrics.jsonl", step_));
  tensorboard_.emplace(folder_, step_);
}

void Trainer::record(const StepReport& report, double seconds) {
  StepMetrics metrics;
  metrics.step = step_;
  metrics.loss = report.loss;
  metrics.learning_rate = report.learning_rate;
  metrics.gradient_norm = report.gradient_norm;
  metrics.tokens = step_ * config_.tokens_per_step();
  metrics.tokens_per_second = static_cast<double>(config_.tokens_per_step()) / seconds;
  const model::FlopCount flops = model::count_flops(config_.model, config_.data.sequence_length);
  metrics.model_flops_utilization =
      metrics.tokens_per_second * flops.training_per_token() / matmul_limit_;
  metrics.skipped = report.verdict != optim::Verdict::accept;
  metrics_->write(metrics);
  tensorboard_->write(metrics);
  last_detail_ = detail_of(metrics, config_.training.steps);
  if (metrics.skipped) {
    base::log_warning(step_text(step_) + ": skipped, loss " + std::to_string(report.loss) +
                      ", gradient norm " + std::to_string(report.gradient_norm) +
                      "; the weights are unchanged");
  }
}

std::vector<checkpoint::TensorFile> Trainer::checkpoint_files() const {
  const params::ParameterSet& set = state_.model.parameters();
  return checkpoint::tensor_files(
      checkpoint::model_tensors(set),
      checkpoint::moment_tensors(set, state_.optimizer.flat_first_moment(),
                                 state_.optimizer.flat_second_moment()));
}

checkpoint::Manifest Trainer::manifest() const {
  checkpoint::Manifest manifest;
  manifest.step = step_;
  manifest.tokens = step_ * config_.tokens_per_step();
  manifest.epoch = loader_.epoch();
  manifest.global_sample_index = loader_.position();
  manifest.seed = config_.seed;
  manifest.data_fingerprint = loader_.fingerprint();
  manifest.config = base::config_text(config_);
  manifest.recent_losses = guard_.state().losses;
  manifest.recent_norms = guard_.state().norms;
  manifest.state[kSkips] = guard_.state().skips;
  manifest.state[kRolledBack] = std::int64_t{guard_.state().rolled_back};
  checkpoint::add_step_counts(manifest, state_.model.parameters(), state_.optimizer.step_counts());
  return manifest;
}

void Trainer::save() {
  if (saved_step_ == step_) return;
  stream_.synchronize();
  const bool cadence =
      step_ % config_.checkpoint.every_steps == 0 || step_ >= config_.training.steps;
  if (cadence) {
    metrics_->write(MetricsEvent::checkpoint, step_);
    metrics_->sync();
  }
  saver_.start(manifest(), checkpoint_files());
  saved_step_ = step_;
}

void Trainer::report_saves(const std::vector<checkpoint::SaveOutcome>& outcomes) {
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

bool Trainer::validation_due() const {
  const std::int64_t every = config_.validation.every_steps;
  return validation_loader_ && every > 0 && (step_ % every == 0 || step_ == config_.training.steps);
}

void Trainer::validate() {
  if (metrics_->has(MetricsEvent::validation, step_)) return;
  const std::int64_t most = validation_loader_->samples() / plan_.micro_batch;
  const std::int64_t batches =
      std::min(config_.validation.batches, std::max<std::int64_t>(1, most));
  base::Stopwatch watch;
  validation_loader_->seek(0);
  ValidationMetrics metrics;
  metrics.step = step_;
  metrics.loss = evaluation::mean_loss(stream_, state_.validation, *validation_loader_, batches);
  metrics.tokens = batches * state_.activations.rows();
  metrics.seconds = watch.seconds();
  metrics_->write(metrics);
  tensorboard_->write(metrics);
  char text[80];
  std::snprintf(text, sizeof(text), "step %lld: validation loss %.4f",
                static_cast<long long>(step_), metrics.loss);
  base::log_info(text);
}

void Trainer::finish() {
  report_saves(saver_.wait());
  if (validation_due()) validate();
  metrics_->write(MetricsEvent::end, step_);
  metrics_->sync();
  tensorboard_->sync();
  base::log_info(config_.name + ": done, " + std::to_string(step_) + " steps");
}

void Trainer::stop(int signal) {
  save();
  report_saves(saver_.wait());
  metrics_->sync();
  throw base::Error(base::ErrorKind::stopped,
                    "stopped at step " + std::to_string(step_) + " by signal " +
                        std::to_string(signal) +
                        " with a checkpoint; the same command line goes on from there");
}

}  // namespace ssmax::train
