#pragma once

#include <cstdint>

#include "optim/optimizer_config.h"

namespace ssmax::optim {

/// The learning rate of `step`, counted from 0, in a run of `total_steps`. With warm-up W, total N,
/// final fraction f and progress p from 0 to 1:
///
///   warm-up (step < W)    peak (step + 1) / W
///   constant              peak
///   cosine                peak (f + (1 - f) (1 + cos(pi p)) / 2),  p = (step - W) / (N - W)
///   linear                peak (f + (1 - f) (1 - p)),              p = (step - W) / (N - W)
///   warmup_stable_decay   peak until S = max(W, N - D), then linear with p = (step - S) / (N - S);
///                         D = decay_steps, or a fifth of the run when that is 0
///
/// p reaches 1 at step N, one after the last, so that no step is spent on f = 0; later steps keep
/// the final rate. Cosine: Loshchilov and Hutter, "SGDR", 2017; warmup_stable_decay: Hu et al.,
/// "MiniCPM", 2024.
double learning_rate(const ScheduleConfig& config, double peak, std::int64_t step,
                     std::int64_t total_steps);

}  // namespace ssmax::optim
