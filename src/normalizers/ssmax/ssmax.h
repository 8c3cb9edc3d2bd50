#pragma once

#include <tuple>

#include "base/field.h"
#include "kernels/attention/row_scale.h"

namespace ssmax::normalizers::ssmax {

/// Scalable-Softmax: Nakanishi, "Scalable-Softmax Is Superior for Attention", 2025, eq. 3.
struct Options {
  bool learn_scale = true;
  bool bias = false;
  double initial_scale = 0.0;
  double initial_bias = 0.0;

  static constexpr auto fields() {
    return std::tuple(
        base::field("learn_scale", &Options::learn_scale,
                    "Learn s of every layer and head; else it stays initial_scale"),
        base::field("bias", &Options::bias, "Add a learned b of every layer and head to s ln n"),
        base::field("initial_scale", &Options::initial_scale, kernels::kInitialScaleHelp),
        base::field("initial_bias", &Options::initial_bias, "b at the start"));
  }
};

}  // namespace ssmax::normalizers::ssmax
