#pragma once

#include <tuple>

#include "base/field.h"
#include "kernels/attention/row_scale.h"

namespace ssmax::normalizers::ssmax {

/// Scalable-Softmax: Nakanishi, "Scalable-Softmax Is Superior for Attention", 2025, arXiv
/// 2501.19399: weight = n^(s z_j) / sum_k n^(s z_k) = softmax((s ln n) z), n the keys that the
/// query sees, itself included; with a bias softmax((s ln n + b) z). s and b are one number of
/// every layer and head. The row scale is c = s u + b with u of kernels::LogLength, the weighting
/// Softmax's.
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
