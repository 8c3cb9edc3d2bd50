#pragma once

#include <functional>
#include <string>

#include "comm/communicator.h"
#include "evaluation/token_losses.h"
#include "train/metrics.h"
#include "train/run_config.h"

namespace ssmax::train {

/// The validation of a run: the first sequences of data.validation, divided among the ranks. Which
/// they are depends on the config alone, not on micro-batches or ranks.
class Validation {
 public:
  /// Opens the data; Error(data).
  Validation(const RunConfig& config, std::int64_t micro_batch);

  const std::string& fingerprint() const { return loader_.fingerprint(); }
  /// Whether one belongs behind `step` steps of a run of `steps`.
  bool is_due(std::int64_t step, std::int64_t steps) const;
  /// Mean over the batches of all ranks; `beat` is called after each of this rank's. Collective.
  ValidationMetrics measure(device::Stream& stream, evaluation::TokenLosses& losses,
                            comm::Communicator& ranks, std::int64_t step,
                            const std::function<void()>& beat);

 private:
  ValidationConfig config_;
  corpus::Loader loader_;
  std::int64_t sequences_;
};

}  // namespace ssmax::train
