#pragma once

#include <array>
#include <filesystem>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "base/checked.h"
#include "base/config.h"
#include "base/threads.h"
#include "checkpoint/checkpoint_config.h"
#include "comm/seats.h"
#include "corpus/data_config.h"
#include "model/activations.h"
#include "model/model_config.h"
#include "optim/optimizer_config.h"
#include "optim/spike_guard.h"

namespace ssmax::checkpoint {
class LoadedCheckpoint;
}

namespace ssmax::train {

enum class Precision : std::uint8_t { fp32, bf16, fp64 };
constexpr auto enum_names(Precision) {
  return std::to_array<base::EnumName<Precision>>(
      {{Precision::fp32, "fp32"}, {Precision::bf16, "bf16"}, {Precision::fp64, "fp64"}});
}

enum class DeviceChoice : std::uint8_t { automatic, cpu, cuda };
constexpr auto enum_names(DeviceChoice) {
  return std::to_array<base::EnumName<DeviceChoice>>({{DeviceChoice::automatic, "auto"},
                                                      {DeviceChoice::cpu, "cpu"},
                                                      {DeviceChoice::cuda, "cuda"}});
}

struct TrainingConfig {
  std::int64_t steps = 20000;
  double epochs = 0.0;
  std::int64_t batch_sequences = 2048;
  std::int64_t micro_batch_sequences = 0;
  Precision precision = Precision::bf16;
  DeviceChoice device = DeviceChoice::automatic;
  model::Recompute recompute = model::Recompute::none;
  std::int64_t threads = 0;
  double hang_timeout_seconds = 600.0;

  static constexpr auto fields() {
    using T = TrainingConfig;
    using base::at_least;
    using base::field;
    return std::tuple(
        field("steps", &T::steps, "Optimizer steps of the whole run; 0 only writes a checkpoint",
              at_least(0)),
        field("epochs", &T::epochs,
              "The run in passes over the training data; above 0 it decides steps", at_least(0)),
        field("batch_sequences", &T::batch_sequences, "Sequences of one optimizer step",
              at_least(1)),
        field("micro_batch_sequences", &T::micro_batch_sequences,
              "Sequences of one forward and backward; 0 = the largest that suits the memory",
              at_least(0)),
        field("precision", &T::precision,
              "bf16: bf16 activations and matmuls, fp32 master weights, moments and sums; fp64: "
              "the slow reference"),
        field("device", &T::device, "Where to train; auto = a GPU where there is one"),
        field("recompute", &T::recompute,
              "block keeps the inputs of blocks only and computes the rest again: less memory, "
              "a third more work, the same bits"),
        field("threads", &T::threads, "CPU threads of a rank; 0 = its share of the cores",
              at_least(0), base::at_most(base::kMostThreads)),
        field("hang_timeout_seconds", &T::hang_timeout_seconds,
              "A micro-batch, a save or another rank that takes longer ends the process; 0 = "
              "never",
              at_least(0)));
  }
};

/// Several ranks that train one model.
struct ParallelConfig {
  bool shard_optimizer = false;
  comm::Wire reduction = comm::Wire::full;
  comm::Transport transport = comm::Transport::automatic;

  static constexpr auto fields() {
    using P = ParallelConfig;
    return std::tuple(
        base::field("shard_optimizer", &P::shard_optimizer,
                    "Split the moments, and the fp32 master weights of bf16, over the ranks "
                    "(ZeRO-1): less memory for each, the same results"),
        base::field("reduction", &P::reduction,
                    "What gradients are sent as between ranks: full = fp32 (fp64 of fp64); bf16 = "
                    "half the bytes, added in fp32 (in bf16 by NCCL)"),
        base::field("transport", &P::transport,
                    "What moves gradients and weights between GPUs: nccl; host = the memory of the "
                    "host and MPI or TCP; auto = nccl where each rank has a GPU of its own"));
  }
};

/// Which architecture a run that starts from a checkpoint has.
enum class ModelSource : std::uint8_t { config, checkpoint };
constexpr auto enum_names(ModelSource) {
  return std::to_array<base::EnumName<ModelSource>>(
      {{ModelSource::config, "config"}, {ModelSource::checkpoint, "checkpoint"}});
}

struct StartConfig {
  std::string checkpoint;
  ModelSource model = ModelSource::config;
  std::vector<std::string> allow_change;
  bool continue_run = false;

  static constexpr auto fields() {
    return std::tuple(
        base::field("checkpoint", &StartConfig::checkpoint,
                    "Checkpoint or run folder to start from; empty = from scratch"),
        base::field("model", &StartConfig::model,
                    "checkpoint: take the whole section model from the checkpoint, as for "
                    "fine-tuning; config: what this config says"),
        base::field("allow_change", &StartConfig::allow_change,
                    "Config keys that may differ from the checkpoint's model, such as "
                    "model.normalizer"),
        base::field("continue_run", &StartConfig::continue_run,
                    "Take over step, moments and data position too, as for a change late in a "
                    "run; otherwise the weights alone"));
  }
};

struct ValidationConfig {
  std::int64_t every_steps = 250;
  std::int64_t batches = 20;

  static constexpr auto fields() {
    return std::tuple(
        base::field("every_steps", &ValidationConfig::every_steps,
                    "Steps between validations; the last step always validates; 0 = never",
                    base::at_least(0)),
        base::field("batches", &ValidationConfig::batches,
                    "Batches of training.batch_sequences of one validation, the first of the data; "
                    "all of it where it has fewer",
                    base::at_least(1)));
  }
};

/// A run: one JSON file.
struct RunConfig {
  std::string name = "run";
  std::int64_t seed = 1337;
  model::ModelConfig model;
  corpus::DataConfig data;
  optim::OptimizerConfig optimizer;
  optim::ScheduleConfig schedule;
  TrainingConfig training;
  ParallelConfig parallel;
  optim::SpikeGuardConfig spike_guard;
  StartConfig start;
  checkpoint::CheckpointConfig checkpoint;
  ValidationConfig validation;

  void validate() const;
  /// What depends on other sections filled in: max_position_embeddings, num_key_value_heads.
  RunConfig resolved() const;
  /// Steps and warm-up from epochs of `samples` sequences, where the config counts in epochs.
  RunConfig with_epochs(std::int64_t samples) const;
  device::DType activation_dtype() const;
  /// What the machine's limit of matrix products is measured in: bf16, or f32 for every other
  /// precision.
  device::DType matmul_dtype() const;
  /// Where this run computes: training.device, where auto takes a GPU if there is one that can run
  /// the precision. The ranks of a machine take its GPUs in turn. Error(device) when a GPU is asked
  /// for and cannot be used, with the reason.
  device::Device compute_device(int local_rank = 0) const;
  std::int64_t tokens_per_step() const {
    return base::checked_product(training.batch_sequences, data.sequence_length);
  }

  static constexpr auto fields() {
    using R = RunConfig;
    using base::field;
    return std::tuple(
        field("name", &R::name, "Name of the run in logs and plots", base::non_empty()),
        field("seed", &R::seed, "Of initial weights and of the order of the data",
              base::at_least(0)),
        field("model", &R::model, "The architecture"), field("data", &R::data, "Token shards"),
        field("optimizer", &R::optimizer, "AdamW"),
        field("schedule", &R::schedule, "The learning rate over the run"),
        field("training", &R::training, "Length, batch, precision, device"),
        field("parallel", &R::parallel, "Several ranks, as mpirun or srun start them"),
        field("spike_guard", &R::spike_guard, "Steps that are refused"),
        field("start", &R::start, "Weights to start from"),
        field("checkpoint", &R::checkpoint, "When to save"),
        field("validation", &R::validation, "When to validate"));
  }
};

/// The config that a checkpoint was written with, changed by overrides. Error(usage).
RunConfig saved_config(const checkpoint::LoadedCheckpoint& loaded,
                       std::span<const std::string> overrides = {});

/// The config with the checkpoint's model, where start.model asks for it. Error(usage) when it
/// names model keys of its own. A run in `folder` that has checkpoints keeps their model, so that
/// it goes on without the one it started from.
RunConfig with_start_model(const RunConfig& config, const std::filesystem::path& folder);

/// Keys below "model" that make another function of the same weights: every difference but initial
/// values and what tensor shapes show by themselves.
std::vector<base::ConfigDifference> model_changes(const RunConfig& saved, const RunConfig& now);

}  // namespace ssmax::train
