#include "train/trainer.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>

#include "base/format.h"
#include "base/log.h"
#include "base/progress.h"
#include "comm/agreement.h"
#include "device/range.h"
#include "device/to_host.h"
#include "kernels/linear/matmul_limit.h"
#include "kernels/loss_total/loss_total.h"
#include "optim/schedule.h"

namespace ssmax::train {

namespace {

/// A rank that was asked to stop and waits for longer than this says for whom: it has little time.
constexpr double kPatienceSeconds = 0.3;

corpus::LoaderOptions training_loader(const RunConfig& config, std::int64_t batch,
                                      const comm::Communicator& ranks) {
  corpus::LoaderOptions options =
      corpus::sequential_loader(config.data, config.data.train, config.model.vocab_size, batch);
  options.seed = static_cast<std::uint64_t>(config.seed);
  if (config.data.shuffle) options.order = corpus::Order::shuffled;
  options.rank = ranks.rank();
  options.ranks = ranks.size();
  return options;
}

/// The plan with the smallest micro-batch of all ranks: which samples are whose depends on it.
MemoryPlan common_plan(const RunConfig& config, comm::Communicator& ranks, const Place& place,
                       std::int64_t former) {
  MemoryPlan plan;
  comm::together(ranks, [&] { plan = choose_micro_batch(config, place, former); });
  const auto own = static_cast<double>(plan.micro_batch);
  const std::vector<double> all = ranks.gather_values({&own, 1});
  const double least = *std::ranges::min_element(all);
  return least == own ? plan : plan_memory(config, static_cast<std::int64_t>(least), place);
}

/// FLOP/s of all ranks' matrix products together.
double common_matmul_limit(const RunConfig& config, comm::Communicator& ranks,
                           device::Stream& stream) {
  const double own = kernels::measured_matmul_limit(stream, config.matmul_dtype());
  double all = 0.0;
  for (const double rank : ranks.gather_values({&own, 1})) all += rank;
  return all;
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

std::string step_text(std::int64_t step) { return "step " + std::to_string(step); }

}  // namespace

std::int64_t training_samples(const RunConfig& config) {
  return base::within("data.train", [&] {
    return corpus::Loader(training_loader(config, 1, comm::solo())).samples();
  });
}

Trainer::Trainer(const RunConfig& config, const std::filesystem::path& folder,
                 comm::Communicator& ranks)
    : config_(config),
      ranks_(ranks),
      folder_(folder, ranks.is_root()),
      checkpoints_(folder_, config.checkpoint.keep, ranks, config.training.hang_timeout_seconds),
      seating_(find_seats(config_, ranks_)),
      plan_(common_plan(config_, ranks_, seating_.place,
                        checkpoints_.micro_batch(config_, seating_.place))),
      stream_(seating_.place.device),
      arena_(stream_.device()),
      // Before the state takes the memory: the matrices are large.
      matmul_limit_(common_matmul_limit(config_, ranks_, stream_)),
      meeting_(ranks_),
      guard_(config_.spike_guard) {
  ranks_.set_timeout(config_.training.hang_timeout_seconds);
  comm::together(ranks_, [&] {
    folder_.open();
    state_.emplace(config_, plan_.micro_batch, seating_.place, arena_);
    const bool examples = config_.data.kind == corpus::DataKind::supervised;
    base::within(examples ? "data.train, JSON Lines of prompts and completions"
                          : "data.train, shards as ssmax prepare writes them",
                 [&] { loader_.emplace(training_loader(config_, plan_.micro_batch, ranks_)); });
    config_ = config_.with_epochs(loader_->samples());
    if (config_.data.validation.empty()) return;
    base::within("data.validation, which may be empty",
                 [&] { validation_.emplace(config_, plan_.micro_batch); });
  });
  begin();
}

Trainer::~Trainer() {
  ranks_.set_on_wait({});  // it refers to what run() was given
}

void Trainer::run(const StopSignals& signals, Watchdog& watchdog) {
  const Watchdog::Section section(watchdog, "training", config_.training.hang_timeout_seconds);
  watch_the_ranks(signals, watchdog);
  base::ProgressOptions options;
  options.unit = "steps";
  if (!ranks_.is_root()) options.style = base::ProgressOptions::Style::silent;
  base::Progress progress(config_.name, config_.training.steps - step_, options);
  const std::int64_t first = step_;
  if (step_ > 0) validate_when_due(watchdog);
  while (step_ < config_.training.steps) {
    base::Stopwatch watch;
    const StepReport report =
        comm::within(step_text(step_ + 1), [&] { return step(signals, watchdog); });
    if (report.verdict == optim::Verdict::roll_back) {
      roll_back();
      continue;
    }
    const StepMetrics metrics = metrics_of(report, watch.seconds());
    record(metrics);
    checkpoints_.report();
    watchdog.beat();
    progress.update(step_ - first, detail_of(metrics, config_.training.steps));
    if (is_save_due()) {
      const Watchdog::Section saving(watchdog, "checkpoint", config_.training.hang_timeout_seconds);
      save();
    }
    validate_when_due(watchdog);
    if (stop_signal_ != 0 && step_ < config_.training.steps) stop(stop_signal_);
  }
  progress.finish();
  finish(watchdog);
}

StepReport Trainer::step(const StopSignals& signals, Watchdog& watchdog) {
  const device::Range range("step", step_ + 1);
  StepReport report;
  report.learning_rate = optim::learning_rate(config_.schedule, config_.optimizer.learning_rate,
                                              step_, config_.training.steps);
  base::Stopwatch compute;
  forward_backward(signals, watchdog);
  if (ranks_.size() > 1) stream_.synchronize();  // its own work ends here, and waiting begins
  const double compute_seconds = compute.seconds();
  exchange_->finish_sums();
  state_->optimizer.measure(stream_);
  const double norm_squared = state_->optimizer.own_norm_squared(stream_);
  const std::vector<double> loss = device::to_host(stream_, state_->loss_total);
  const StepTotals totals =
      meeting_.meet({loss[0], loss[1], norm_squared, compute_seconds, signals.requested()});
  stop_signal_ = totals.signal;
  state_->optimizer.complete(stream_, totals.norm_squared);
  report.loss = totals.loss / totals.tokens;
  report.gradient_norm = state_->optimizer.read(stream_).gradient_norm;
  report.verdict = comm::alike([&] { return guard_.judge(report.loss, report.gradient_norm); });
  if (report.verdict == optim::Verdict::accept) {
    const device::Range update("optimizer");
    state_->optimizer.update(stream_, report.learning_rate);
    exchange_->share_weights(stream_);
  }
  ++step_;
  tokens_ += config_.tokens_per_step();
  return report;
}

void Trainer::forward_backward(const StopSignals& signals, Watchdog& watchdog) {
  const Watchdog::Section section(watchdog, "forward and backward",
                                  config_.training.hang_timeout_seconds);
  const std::int64_t micro_batches =
      config_.training.batch_sequences / (plan_.micro_batch * ranks_.size());
  const double loss_scale =
      1.0 / static_cast<double>(loader_->targets(config_.training.batch_sequences));
  const model::GradientsReady sum = [this](int ready) { exchange_->section_ready(stream_, ready); };
  device::fill_zero(stream_, state_->model.parameters().flat_gradients());
  device::fill_zero(stream_, state_->loss_total);
  for (std::int64_t micro = 0; micro < micro_batches; ++micro) {
    const bool last = micro + 1 == micro_batches;
    const device::Range range("micro-batch", micro);
    const model::TokenBatch batch = state_->batch.upload(stream_, loader_->next());
    state_->model.forward_for_training(stream_, state_->activations, batch, loss_scale);
    state_->model.backward(stream_, state_->activations, batch, last ? sum : nullptr);
    const device::Shape rows{state_->activations.rows()};
    kernels::add_loss_total(stream_, state_->loss_total, state_->activations.losses,
                            batch.targets.reshaped(rows));
    watchdog.beat();
    if (!last) acknowledge(signals);
  }
}

/// A step may take minutes, and who hears nothing asks a second time, which ends at once.
void Trainer::acknowledge(const StopSignals& signals) {
  if (acknowledged_ || signals.requested() == 0) return;
  acknowledged_ = true;
  folder_.info("asked to stop: " + step_text(step_ + 1) +
               " is finished and saved first; a second signal ends at once, without a checkpoint");
}

/// A rank that waits for others is not the one that hangs; who is silent for too long is named by
/// those that wait.
void Trainer::watch_the_ranks(const StopSignals& signals, Watchdog& watchdog) {
  const auto told = std::make_shared<std::atomic<bool>>(false);
  const auto on_wait = [&signals, &watchdog, told, this](const char* phase,
                                                         const comm::Waiting& waiting) {
    watchdog.beat();
    if (signals.requested() == 0 || waiting.seconds < kPatienceSeconds || waiting.ranks.empty() ||
        told->exchange(true)) {
      return;
    }
    base::log_warning(ranks_.rank_text(ranks_.rank()) + " was asked to stop, and waits for " +
                      ranks_.rank_text(waiting.ranks.front()) + " in " + phase + ": is it gone?");
  };
  ranks_.set_on_wait([on_wait](const comm::Waiting& waiting) { on_wait("a step's end", waiting); });
  exchange_->watch(config_.training.hang_timeout_seconds, on_wait);
}

StepMetrics Trainer::metrics_of(const StepReport& report, double seconds) {
  const GradientExchange::Times times = exchange_->take_times();
  const model::FlopCount flops = model::count_flops(config_.model, config_.data.sequence_length);
  StepMetrics metrics;
  metrics.step = step_;
  metrics.loss = report.loss;
  metrics.learning_rate = report.learning_rate;
  metrics.gradient_norm = report.gradient_norm;
  metrics.tokens = tokens_;
  metrics.tokens_per_second = static_cast<double>(config_.tokens_per_step()) / seconds;
  metrics.model_flops_utilization =
      metrics.tokens_per_second * flops.training_per_token() / matmul_limit_;
  metrics.skipped = report.verdict != optim::Verdict::accept;
  metrics.ranks = ranks_.size();
  metrics.communication_seconds = times.communication;
  metrics.exposed_seconds = times.exposed;
  return metrics;
}

void Trainer::record(const StepMetrics& metrics) {
  folder_.write(metrics);
  if (!metrics.skipped) return;
  folder_.warn(step_text(step_) + ": skipped, loss " + std::to_string(metrics.loss) +
               ", gradient norm " + std::to_string(metrics.gradient_norm) +
               "; the weights are unchanged");
}

/// Between refused steps none is: their weights must not take the place of good ones.
bool Trainer::is_save_due() const {
  if (step_ >= config_.training.steps) return true;
  return step_ % config_.checkpoint.every_steps == 0 && guard_.state().skips == 0;
}

void Trainer::save() {
  if (saved_step_ == step_) return;
  const device::Range range("checkpoint", step_);
  stream_.synchronize();
  check_replicas(ranks_, state_->model.parameters());
  state_->gather_master(stream_, ranks_);
  if (is_save_due()) {
    folder_.write(MetricsEvent::checkpoint, step_);
    folder_.sync();
  }
  checkpoints_.save(manifest(), state_->checkpoint_files());
  saved_step_ = step_;
  if (const std::string line = meeting_.straggler(); !line.empty()) folder_.info(line);
}

void Trainer::validate_when_due(Watchdog& watchdog) {
  if (!validation_ || !validation_->is_due(step_, config_.training.steps)) return;
  if (!ranks_.agree(!folder_.has(MetricsEvent::validation, step_))) return;
  const device::Range range("validation", step_);
  const Watchdog::Section section(watchdog, "validation", config_.training.hang_timeout_seconds);
  const ValidationMetrics metrics =
      validation_->measure(stream_, state_->validation, ranks_, step_, [&] { watchdog.beat(); });
  folder_.write(metrics);
  char text[80];
  std::snprintf(text, sizeof(text), "step %lld: validation loss %.4f",
                static_cast<long long>(step_), metrics.loss);
  folder_.info(text);
}

void Trainer::finish(Watchdog& watchdog) {
  checkpoints_.finish();
  validate_when_due(watchdog);
  folder_.write(MetricsEvent::end, step_);
  folder_.sync();
  folder_.info(config_.name + ": done, " + std::to_string(step_) + " steps");
}

void Trainer::stop(int signal) {
  save();
  checkpoints_.finish();
  folder_.sync();
  throw comm::SharedError(base::ErrorKind::stopped,
                          "stopped at step " + std::to_string(step_) + " by signal " +
                              std::to_string(signal) +
                              " with a checkpoint; the same command line goes on from there");
}

}  // namespace ssmax::train
