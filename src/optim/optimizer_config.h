#pragma once

#include <cstdint>
#include <tuple>

#include "base/config.h"

namespace ssmax::optim {

/// Section "optimizer": AdamW, with decay on parameters of rank 2 and more.
struct OptimizerConfig {
  double learning_rate = 6e-4;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  double clip_norm = 1.0;

  static constexpr auto fields() {
    using Self = OptimizerConfig;
    return std::tuple(
        base::field("learning_rate", &Self::learning_rate, "Peak learning rate", base::above(0)),
        base::field("beta1", &Self::beta1, "Decay of the mean of gradients", base::at_least(0),
                    base::below(1)),
        base::field("beta2", &Self::beta2, "Decay of the mean of squared gradients",
                    base::at_least(0), base::below(1)),
        base::field("eps", &Self::eps, "Added to the root of the second moment", base::above(0)),
        base::field("weight_decay", &Self::weight_decay, "Decoupled decay of matrices",
                    base::at_least(0)),
        base::field("clip_norm", &Self::clip_norm, "Largest global gradient norm; 0 = no clipping",
                    base::at_least(0)));
  }
};

enum class ScheduleKind : std::uint8_t { constant, cosine, linear, warmup_stable_decay };

constexpr auto enum_names(ScheduleKind) {
  return std::to_array<base::EnumName<ScheduleKind>>(
      {{ScheduleKind::constant, "constant"},
       {ScheduleKind::cosine, "cosine"},
       {ScheduleKind::linear, "linear"},
       {ScheduleKind::warmup_stable_decay, "warmup_stable_decay"}});
}

/// Section "schedule"; optim/schedule.h has the formulas.
struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::constant;
  std::int64_t warmup_steps = 0;
  double warmup_epochs = 0.0;
  double final_fraction = 0.1;
  std::int64_t decay_steps = 0;

  static constexpr auto fields() {
    using Self = ScheduleConfig;
    return std::tuple(
        base::field("kind", &Self::kind, "How the learning rate moves after the warm-up"),
        base::field("warmup_steps", &Self::warmup_steps, "Steps of linear rise to the peak",
                    base::at_least(0)),
        base::field("warmup_epochs", &Self::warmup_epochs,
                    "The warm-up in passes over the training data; above 0 it decides warmup_steps",
                    base::at_least(0)),
        base::field("final_fraction", &Self::final_fraction,
                    "Last learning rate as a fraction of the peak", base::at_least(0),
                    base::at_most(1)),
        base::field("decay_steps", &Self::decay_steps,
                    "Steps of the fall of warmup_stable_decay; 0 = a fifth of the run",
                    base::at_least(0)));
  }
};

}  // namespace ssmax::optim
