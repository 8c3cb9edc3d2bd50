#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "comm/communicator.h"
#include "corpus/loader.h"
#include "optim/spike_guard.h"
#include "train/gradient_exchange.h"
#include "train/replicas.h"
#include "train/run_checkpoints.h"
#include "train/run_folder.h"
#include "train/signals.h"
#include "train/training_state.h"
#include "train/validation.h"
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

/// A run: starts or resumes it in its folder and carries it to the end. Of several ranks each has
/// one; rank 0 owns the folder: lock, log, metrics, and the checkpoints' manifests.
class Trainer {
 public:
  /// Takes the folder's lock, loads the newest checkpoint or the start, opens the data. Collective,
  /// as is run(): a config, program or data that differs between ranks is Error(usage). `ranks`
  /// must outlive the trainer.
  Trainer(const RunConfig& config, const std::filesystem::path& folder,
          comm::Communicator& ranks = comm::solo());
  ~Trainer();

  /// Trains until the last step. Error(stopped) after a signal, on any rank, with the checkpoint
  /// written.
  void run(const StopSignals& signals, Watchdog& watchdog);

 private:
  // How a run begins, goes on and goes back: trainer_start.cpp.
  void begin();
  void introduce(bool is_done) const;
  void start();
  void start_from(const checkpoint::LoadedCheckpoint& loaded);
  void resume(const checkpoint::LoadedCheckpoint& loaded);
  void roll_back();
  void restore(const checkpoint::LoadedCheckpoint& loaded);
  checkpoint::Manifest manifest() const;

  StepReport step(const StopSignals& signals, Watchdog& watchdog);
  void forward_backward(const StopSignals& signals, Watchdog& watchdog);
  void acknowledge(const StopSignals& signals);
  void watch_the_ranks(const StopSignals& signals, Watchdog& watchdog);
  StepMetrics metrics_of(const StepReport& report, double seconds);
  void record(const StepMetrics& metrics);
  bool is_save_due() const;
  void save();
  void validate_when_due(Watchdog& watchdog);
  void finish(Watchdog& watchdog);
  [[noreturn]] void stop(int signal);

  RunConfig config_;
  comm::Communicator& ranks_;
  RunFolder folder_;
  RunCheckpoints checkpoints_;
  Seating seating_;
  MemoryPlan plan_;
  device::Stream stream_;
  device::Arena arena_;
  double matmul_limit_ = 0.0;  // FLOP/s of all ranks' machines in this run

  std::optional<TrainingState> state_;
  std::optional<corpus::Loader> loader_;
  std::optional<Validation> validation_;
  std::optional<GradientExchange> exchange_;
  StepMeeting meeting_;
  optim::SpikeGuard guard_;
  std::int64_t step_ = 0;         // optimizer steps done
  std::int64_t tokens_ = 0;       // of these steps, whose batches may have had other sizes
  std::int64_t saved_step_ = -1;  // newest step that was handed to the saver or loaded
  int stop_signal_ = 0;           // that some rank was asked to stop by
  bool acknowledged_ = false;     // that this one was
};

}  // namespace ssmax::train
