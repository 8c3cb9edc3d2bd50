#pragma once

#include <tuple>

#include "base/field.h"
#include "kernels/attention/row_scale.h"

/// The experiment that motivates SSMax: Nakanishi 2025, arXiv 2501.19399, section 2.1: weight =
/// softmax((s p_n + b) z). p_n is learned for every n and shared by all layers and heads, s and b
/// are per layer and head. It is trained up to the length of its table, beyond which a gradient is
/// Error(usage); longer rows of an evaluation use the table's fit a1 ln n + a2.
namespace ssmax::normalizers::learned_length {

struct Options {
  double initial_scale = 0.0;
  double initial_bias = 0.0;
  bool bias = true;

  static constexpr auto fields() {
    return std::tuple(
        base::field("initial_scale", &Options::initial_scale, kernels::kInitialScaleHelp),
        base::field("initial_bias", &Options::initial_bias, "b at the start"),
        base::field("bias", &Options::bias, "Add a learned b of every layer and head to s p_n"));
  }
};

}  // namespace ssmax::normalizers::learned_length
