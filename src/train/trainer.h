#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "base/log.h"
#include "checkpoint/background_saver.h"
#include "checkpoint/load.h"
#include "checkpoint/lock.h"
#include "corpus/loader.h"
#include "optim/spike_guard.h"
#include "train/metrics.h"
#include "train/signals.h"
#include "train/tensorboard.h"
#include "train/training_state.h"
#include "train/watchdog.h"

namespace ssmax::train {

/// One optimizer step as the host sees it.
struct StepReport {
  double loss = 0.0;           ///< mean over the batch, nats per token
  double gradient_norm = 0.0;  ///< before clipping
  double learning_rate = 0.0;
  optim::Verdict verdict = optim::Verdict::accept;
};

/// Sequences of one epoch; opens the data.
std::int64_t training_samples(const RunConfig& config);

/// A run: starts or resumes it in its folder and carries it to the end.
class Trainer {
 public:
  /// Takes the folder's lock, loads the newest checkpoint or the start, opens the data.
  Trainer(const RunConfig& config, const std::filesystem::path& folder);
  ~Trainer();

  /// Trains until the last step. Error(stopped) after a signal, with the checkpoint written.
  void run(const StopSignals& signals, Watchdog& watchdog);

  std::int64_t steps_done() const { return step_; }
  const std::filesystem::path& folder() const { return folder_; }

 private:
  StepReport step(Watchdog& watchdog);
  void forward_backward(Watchdog& watchdog);

  void begin();
  void start_from_checkpoint(const base::JsonValue& start_members);
  void resume(const checkpoint::LoadedCheckpoint& loaded);
  void restore(const checkpoint::LoadedCheckpoint& loaded);
  void roll_back();

  void record(const StepReport& report, double seconds);
  void save();
  void report_saves(const std::vector<checkpoint::SaveOutcome>& outcomes);
  void validate();
  bool validation_due() const;
  void finish();
  [[noreturn]] void stop(int signal);
  std::vector<checkpoint::TensorFile> checkpoint_files() const;
  checkpoint::Manifest manifest() const;

  RunConfig config_;
  std::filesystem::path folder_;
  MemoryPlan plan_;
  device::Stream stream_;
  device::Arena arena_;

  checkpoint::RunLock lock_;
  base::LogFile log_file_;
  checkpoint::CheckpointStore store_;
  TrainingState state_;
  corpus::Loader loader_;
  std::optional<corpus::Loader> validation_loader_;
  optim::SpikeGuard guard_;
  checkpoint::BackgroundSaver saver_;
  std::optional<MetricsLog> metrics_;
  std::optional<TensorboardLog> tensorboard_;
  std::int64_t step_ = 0;         // optimizer steps done
  std::int64_t saved_step_ = -1;  // newest step that was handed to the saver or loaded
  std::string last_detail_;
  double matmul_limit_ = 0.0;  // FLOP/s of this machine in this run
};

}  // namespace ssmax::train
