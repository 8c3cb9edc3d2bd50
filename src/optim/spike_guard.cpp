#include "optim/spike_guard.h"

#include <cmath>
#include <string>

namespace ssmax::optim {

namespace {

/// Drops the oldest values beyond `window`. A shift per step costs nothing beside a step.
void keep_newest(std::vector<double>& values, std::int64_t window) {
  const auto limit = static_cast<std::size_t>(window);
  if (values.size() > limit) values.erase(values.begin(), values.end() - window);
}

/// Always from the oldest value, so that a resumed run gets the same bits.
bool is_spike(double value, const std::vector<double>& window, double threshold) {
  const auto count = static_cast<double>(window.size());
  double mean = 0.0;
  for (const double x : window) mean += x / count;
  double variance = 0.0;
  for (const double x : window) variance += (x - mean) * (x - mean) / count;
  return value - mean > threshold * std::sqrt(variance);
}

}  // namespace

SpikeGuard::SpikeGuard(const SpikeGuardConfig& config) : config_(config) {
  state_.losses.reserve(static_cast<std::size_t>(config.window) + 1);
  state_.norms.reserve(static_cast<std::size_t>(config.window) + 1);
}

Verdict SpikeGuard::judge(double loss, double gradient_norm) {
  if (!refused(loss, gradient_norm)) {
    state_.skips = 0;
    state_.losses.push_back(loss);
    state_.norms.push_back(gradient_norm);
    keep_newest(state_.losses, config_.window);
    keep_newest(state_.norms, config_.window);
    return Verdict::accept;
  }
  ++state_.skips;
  if (state_.skips < config_.max_skips) return Verdict::skip;
  if (state_.rolled_back) {
    throw base::Error(
        base::ErrorKind::numerics,
        std::to_string(state_.skips) + " steps in a row were skipped for their loss (last " +
            std::to_string(loss) + ") or gradient norm (last " + std::to_string(gradient_norm) +
            "), also after going back to a checkpoint; expected finite numbers without a spike: "
            "lower optimizer.learning_rate or lengthen schedule.warmup_steps");
  }
  state_.rolled_back = true;
  state_.skips = 0;
  return Verdict::roll_back;
}

void SpikeGuard::restore(const SpikeGuardState& state) {
  if (state.losses.size() != state.norms.size()) {
    throw base::Error(base::ErrorKind::checkpoint,
                      "the window of recent steps has " + std::to_string(state.losses.size()) +
                          " losses and " + std::to_string(state.norms.size()) +
                          " gradient norms; expected as many of both");
  }
  const bool rolled_back = state_.rolled_back || state.rolled_back;
  state_ = state;
  state_.rolled_back = rolled_back;
  keep_newest(state_.losses, config_.window);
  keep_newest(state_.norms, config_.window);
}

bool SpikeGuard::refused(double loss, double gradient_norm) const {
  if (!std::isfinite(loss) || !std::isfinite(gradient_norm)) return true;
  const bool full = static_cast<std::int64_t>(state_.losses.size()) >= config_.window;
  if (config_.threshold == 0.0 || !full) return false;
  return is_spike(loss, state_.losses, config_.threshold) ||
         is_spike(gradient_norm, state_.norms, config_.threshold);
}

}  // namespace ssmax::optim
