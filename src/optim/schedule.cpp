#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace ssmax::optim {

namespace {

/// Where `step` stands between `first` (0) and `last` (1).
double progress(std::int64_t step, std::int64_t first, std::int64_t last) {
  if (step >= last) return 1.0;
  if (step <= first) return 0.0;
  return static_cast<double>(step - first) / static_cast<double>(last - first);
}

double fall(double final_fraction, double remaining) {
  return final_fraction + (1.0 - final_fraction) * remaining;
}

}  // namespace

double learning_rate(const ScheduleConfig& config, double peak, std::int64_t step,
                     std::int64_t total_steps) {
  const std::int64_t warmup = config.warmup_steps;
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  switch (config.kind) {
    case ScheduleKind::constant:
      return peak;
    case ScheduleKind::cosine: {
      const double p = progress(step, warmup, total_steps);
      return peak * fall(config.final_fraction, 0.5 * (1.0 + std::cos(std::numbers::pi * p)));
    }
    case ScheduleKind::linear:
      return peak * fall(config.final_fraction, 1.0 - progress(step, warmup, total_steps));
    case ScheduleKind::warmup_stable_decay: {
      const std::int64_t decay = config.decay_steps > 0 ? config.decay_steps : total_steps / 5;
      const std::int64_t start = std::max(warmup, total_steps - decay);
      return peak * fall(config.final_fraction, 1.0 - progress(step, start, total_steps));
    }
  }
  return peak;
}

}  // namespace ssmax::optim
