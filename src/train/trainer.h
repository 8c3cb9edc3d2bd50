#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

#include "base/log.h"
#include "checkpoint/background_saver.h"
#include "checkpoint/load.h"
#include "checkpoint/lock.h"
#include "comm/communicator.h"
#include "corpus/loader.h"
#include "optim/spike_guard.h"
#include "train/gradient_exchange.h"
#include "train/metrics.h"
#include "train/replicas.h"
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

  std::int64_t steps_done() const { return step_; }
  const std::filesystem::path& folder() const { return folder_; }

 private:
  /// What rank 0 alone has open in the folder.
  struct Folder {
    explicit Folder(const std::filesystem::path& path) : lock(path), log(path / "log.txt") {}

    checkpoint::RunLock lock;
    base::LogFile log;
    std::optional<MetricsLog> metrics;
    std::optional<TensorboardLog> tensorboard;
  };

  StepReport step(const StopSignals& signals, Watchdog& watchdog);
  void forward_backward(const StopSignals& signals, Watchdog& watchdog);
  void acknowledge(const StopSignals& signals);
  void watch_the_ranks(const StopSignals& signals, Watchdog& watchdog);

  void measure_matmul_limit();
  std::unique_ptr<comm::Communicator> open_channel();
  void begin();
  void require_one_run();
  void log_start();
  void start_from(const checkpoint::LoadedCheckpoint& loaded);
  void resume(const checkpoint::LoadedCheckpoint& loaded);
  void restore(const checkpoint::LoadedCheckpoint& loaded);
  void roll_back();
  std::optional<checkpoint::LoadedCheckpoint> open_on_all(
      const std::function<std::optional<checkpoint::LoadedCheckpoint>()>& look);
  std::optional<checkpoint::LoadedCheckpoint> newest_checkpoint();
  void open_metrics(MetricsLog metrics);

  void record(const StepReport& report, double seconds);
  void save();
  void collect_master();
  void finish_saves();
  void report_saves(const std::vector<checkpoint::SaveOutcome>& outcomes);
  void validate(Watchdog& watchdog);
  bool validation_due() const;
  void finish(Watchdog& watchdog);
  [[noreturn]] void stop(int signal);
  std::vector<checkpoint::TensorFile> checkpoint_files() const;
  checkpoint::Manifest manifest() const;

  RunConfig config_;
  std::filesystem::path folder_;
  comm::Communicator& ranks_;
  std::unique_ptr<comm::Communicator> saver_ranks_;  // of the thread that writes checkpoints
  Seating seating_;
  MemoryPlan plan_;
  device::Stream stream_;
  device::Arena arena_;

  std::optional<Folder> files_;  // rank 0
  checkpoint::CheckpointStore store_;
  std::optional<TrainingState> state_;
  std::optional<corpus::Loader> loader_;
  std::optional<corpus::Loader> validation_loader_;
  std::optional<GradientExchange> exchange_;
  StepMeeting meeting_;
  optim::SpikeGuard guard_;
  checkpoint::BackgroundSaver saver_;
  std::int64_t step_ = 0;         // optimizer steps done
  std::int64_t tokens_ = 0;       // of these steps, whose batches may have had other sizes
  std::int64_t saved_step_ = -1;  // newest step that was handed to the saver or loaded
  int stop_signal_ = 0;           // that some rank was asked to stop by
  bool acknowledged_ = false;     // that this one was
  std::string last_detail_;
  double matmul_limit_ = 0.0;  // FLOP/s of all ranks' machines in this run
};

}  // namespace ssmax::train
