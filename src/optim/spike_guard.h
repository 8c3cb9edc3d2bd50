#pragma once

#include <cstdint>
#include <tuple>
#include <vector>

#include "base/config.h"

namespace ssmax::optim {

/// Section of the config: which steps are refused.
struct SpikeGuardConfig {
  std::int64_t window = 128;
  double threshold = 0.0;
  std::int64_t max_skips = 10;

  static constexpr auto fields() {
    using Self = SpikeGuardConfig;
    return std::tuple(
        base::field("window", &Self::window, "Accepted steps that a new one is compared with",
                    base::at_least(2)),
        base::field("threshold", &Self::threshold,
                    "Standard deviations above the mean of the window at which loss or gradient "
                    "norm is a spike and its step is skipped; 0 = only NaN and Inf are skipped",
                    base::at_least(0)),
        base::field("max_skips", &Self::max_skips,
                    "Skips in a row after which the run goes back to the last checkpoint",
                    base::at_least(1)));
  }
};

/// What a checkpoint keeps of it.
struct SpikeGuardState {
  std::vector<double> losses;  ///< oldest first
  std::vector<double> norms;   ///< the same of gradient norms
  std::int64_t skips = 0;      ///< in a row, up to now
  bool rolled_back = false;
};

enum class Verdict : std::uint8_t {
  accept,    ///< update the weights
  skip,      ///< leave the weights, go on with the next batch
  roll_back  ///< leave the weights and load the last good checkpoint; asked for once in a run
};

/// Judges each step by its loss and gradient norm, before the update. A refused step never enters
/// the window, so one NaN or spike cannot blind the guard.
class SpikeGuard {
 public:
  explicit SpikeGuard(const SpikeGuardConfig& config);

  /// Loss and norm that are not finite are refused; with a threshold and a full window also those
  /// further above the window's mean than `threshold` standard deviations. `max_skips` refusals in
  /// a row ask for a roll-back the first time and throw Error(numerics) the second time.
  Verdict judge(double loss, double gradient_norm);

  const SpikeGuardState& state() const { return state_; }
  /// Takes over a state; one that is longer than the window keeps its newest. A roll-back already
  /// asked for stays remembered, since loading the checkpoint restores a state from before it.
  void restore(const SpikeGuardState& state);

 private:
  bool refused(double loss, double gradient_norm) const;

  SpikeGuardConfig config_;
  SpikeGuardState state_;
};

}  // namespace ssmax::optim
