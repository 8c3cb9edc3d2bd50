#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "params/parameter_set.h"

namespace ssmax::train {

/// Compares what kernels read on every rank, tensor by tensor, by hash. Throws
/// SharedError(numerics) naming rank and tensor: most ranks are right, of two nobody knows which.
/// Collective.
void check_replicas(comm::Communicator& ranks, const params::ParameterSet& parameters);

/// What a rank knows of a step, and all ranks together.
struct StepTotals {
  double loss = 0.0;             ///< sum over tokens, nats
  double tokens = 0.0;           ///< that count
  double norm_squared = 0.0;     ///< of gradients
  double compute_seconds = 0.0;  ///< of forward and backward
  int signal = 0;                ///< that asked for a stop; the first rank's that has one
};

/// Sums in the order of the ranks. Remembers who took how long.
class StepMeeting {
 public:
  explicit StepMeeting(comm::Communicator& ranks)
      : ranks_(ranks), seconds_(static_cast<std::size_t>(ranks.size())) {}

  /// The totals of all ranks, the same on each. Collective.
  StepTotals meet(const StepTotals& own);

  /// "slowest rank 2 on host: 1.2 s of compute a step, 8 % above the median" since the last call;
  /// empty for a rank alone.
  std::string straggler();

 private:
  comm::Communicator& ranks_;
  std::vector<double> seconds_;  // of each rank
  std::int64_t steps_ = 0;
};

}  // namespace ssmax::train
