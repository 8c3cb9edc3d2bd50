#pragma once

#include "evaluation/token_losses.h"
#include "model/model.h"
#include "optim/adamw_optimizer.h"
#include "train/run_config.h"

namespace ssmax::train {

/// Everything of a run that lives in device memory. Built over a planning arena it is the memory
/// plan of a dry run, so that plan and run cannot differ.
struct TrainingState {
  TrainingState(const RunConfig& config, std::int64_t micro_batch, device::Arena& arena);

  model::Model model;
  model::Activations activations;  // validation runs in them too
  optim::AdamwOptimizer optimizer;
  device::Tensor tokens;      // (B, T) i32
  device::Tensor targets;     // (B, T) i32
  device::Tensor first_key;   // (B, T) i32
  device::Tensor loss_total;  // (2) f64: sum of losses, targets that count
  evaluation::TokenLosses validation;
};

struct MemoryPlan {
  std::int64_t micro_batch = 0;
  std::vector<device::Allocation> allocations;  ///< by label
  std::int64_t bytes() const;
  std::string table() const;
};

/// What a run with this micro-batch takes, the snapshot of the background save and the program
/// itself included.
MemoryPlan plan_memory(const RunConfig& config, std::int64_t micro_batch);

/// training.micro_batch_sequences, or for 0 the largest divisor of the batch whose plan fits the
/// memory and whose rows keep the matmuls busy. Error(device) when not even one sequence fits.
MemoryPlan choose_micro_batch(const RunConfig& config);

}  // namespace ssmax::train
