#pragma once

#include "checkpoint/checkpoint_store.h"
#include "evaluation/token_losses.h"
#include "model/model.h"
#include "optim/adamw_optimizer.h"
#include "train/place.h"

namespace ssmax::train {

/// Everything of a run that lives in device memory, and what stays beside it. Built over a planning
/// arena it is the memory plan of a dry run, so that plan and run cannot differ.
struct TrainingState {
  TrainingState(const RunConfig& config, std::int64_t micro_batch, const Place& place,
                device::Arena& arena);

  /// What this rank writes into a checkpoint: rank 0 the weights, and the moments unless every rank
  /// has its own.
  std::vector<checkpoint::TensorFile> checkpoint_files() const;
  /// Brings the master weights of all ranks to rank 0 where each holds a part. Collective.
  void gather_master(device::Stream& stream, comm::Communicator& ranks) const;

  device::Arena host_arena;  // where the device is not the host

  model::Model model;
  model::Activations activations;  // validation runs in them too
  optim::AdamwOptimizer optimizer;
  evaluation::DeviceBatch batch;
  device::Tensor loss_total;  // (2) f64: sum of losses, targets that count
  /// Rank 0 of a sharded optimizer under bf16: the master weights of all ranks, for checkpoints, on
  /// the host; otherwise empty.
  device::Tensor gathered_master;
  evaluation::TokenLosses validation;
};

struct MemoryPlan {
  std::int64_t micro_batch = 0;
  std::vector<device::Allocation> allocations;  ///< on the device, by label
  std::vector<device::Allocation> host;         ///< beside a GPU, of the host's memory
  std::int64_t bytes() const;                   ///< on the device
  std::string table() const;
};

/// What one rank of a run with this micro-batch takes, the snapshot of the background save and the
/// program itself included.
MemoryPlan plan_memory(const RunConfig& config, std::int64_t micro_batch, const Place& place);

/// training.micro_batch_sequences, or for 0 the largest divisor of a rank's part of the batch whose
/// plan fits the rank's part of the memory of its device and whose rows keep the matmuls busy; but
/// `former`, which a run that is resumed had before, where it divides and fits: sums of other
/// micro-batches have other bits.
/// Error(device) when not even one sequence fits, Error(usage) when the ranks do not divide the
/// batch.
MemoryPlan choose_micro_batch(const RunConfig& config, const Place& place, std::int64_t former = 0);

}  // namespace ssmax::train
