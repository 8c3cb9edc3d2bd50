#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/adamw/adamw.h"
#include "optim/optimizer_config.h"
#include "params/parameter_set.h"

namespace ssmax::optim {

using device::Arena;
using device::ConstTensor;
using device::Stream;
using device::Tensor;
using params::ParameterSet;

/// What a step tells the host.
struct StepNorms {
  double gradient_norm = 0.0;  ///< before clipping
  double clip_factor = 1.0;    ///< what every gradient was multiplied by
  bool finite = true;          ///< otherwise nothing was updated
};

/// AdamW over the flat arrays of a ParameterSet (kernels/adamw/adamw.h has the formula). Every
/// parameter has its own step count t for the bias corrections, so that one created by a swap
/// starts at t = 1 among others that go on.
///
///   optimizer.step(stream, rate);  const StepNorms norms = optimizer.read(stream);
///
/// or, where the host may refuse a step for its norm (optim/spike_guard.h):
///
///   optimizer.measure(stream);  const StepNorms norms = optimizer.read(stream);
///   if (accepted) optimizer.update(stream, rate);
///
/// Whether the norm is finite is decided on the device before anything is written: otherwise
/// weights, moments and step counts stay as they are.
///
/// Of several ranks each measures the part of the gradients that it owns, and must be told the sum:
///
///   optimizer.measure(stream);
///   const double own = optimizer.own_norm_squared(stream);
///   optimizer.complete(stream, sum of own over the ranks);  then read() and update() as above
///
/// A sharded optimizer holds the moments of ParameterSet::updated() and updates only these.
class AdamwOptimizer {
 public:
  /// Moments start at zero. `parameters` needs gradients and must outlive the optimizer.
  AdamwOptimizer(const ParameterSet& parameters, const OptimizerConfig& config, Arena& arena);

  /// Queues the global norm of the gradients and the clipping factor; for one of several ranks, the
  /// norm of what it owns.
  void measure(Stream& stream);
  /// Waits for measure(): the sum of squares of the gradients that this rank owns.
  double own_norm_squared(Stream& stream) const;
  /// Queues the clipping factor for the sum of squares of all gradients.
  void complete(Stream& stream, double norm_squared);
  /// Queues the update of weights and moments with the factor of the last measure().
  void update(Stream& stream, double learning_rate);
  /// measure() and update().
  void step(Stream& stream, double learning_rate);
  /// Waits for the last measure() and gives its numbers; call it once for each measure().
  StepNorms read(Stream& stream);

  /// Both moments of ParameterSet::updated(), its pieces one after the other.
  Tensor flat_first_moment() const { return first_moment_; }
  Tensor flat_second_moment() const { return second_moment_; }
  /// Updates done to every parameter, in the order of the specs.
  std::span<const std::int64_t> step_counts() const { return step_counts_; }
  void set_step_counts(std::span<const std::int64_t> counts);

 private:
  enum class Norms : std::uint8_t { unknown, read, unread, unread_and_updated };

  /// Of the elements of a piece, counted from its start; neighbors with the same constants are one.
  std::span<const kernels::AdamwSegment> segments(const params::Piece& piece);
  kernels::AdamwArrays arrays_of(const params::Piece& piece) const;
  void count_step();

  const ParameterSet* parameters_;
  OptimizerConfig config_;
  Tensor first_moment_, second_moment_;
  Tensor norm_parts_;    // (pieces) f64, of owned()
  Tensor norm_squared_;  // (1) f64
  Tensor scale_;         // (1) of the gradients' dtype
  std::vector<std::int64_t> step_counts_;
  std::vector<kernels::AdamwSegment> segments_;
  StepNorms norms_;
  Norms state_ = Norms::unknown;
};

}  // namespace ssmax::optim
