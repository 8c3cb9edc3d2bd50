#pragma once

#include <cmath>
#include <tuple>

#include "base/field.h"
#include "base/host_device.h"

/// The attention temperature of Llama 4 (2025) and Ministral 3: weight = softmax(u z), so that
/// scores grow with the position in the document, in steps of the original length. Nothing is
/// learned.
namespace ssmax::normalizers::temperature {

struct Options {
  double beta = 0.1;
  std::int64_t original_length = 8192;

  static constexpr auto fields() {
    return std::tuple(
        base::field("beta", &Options::beta, "Growth with the logarithm of the position"),
        base::field("original_length", &Options::original_length,
                    "Positions up to which the scale is 1", base::at_least(1)));
  }
};

/// u = 1 + beta ln(1 + floor(position / original_length)), position = n - 1 tokens.
struct Length {
  double beta = 0.1;
  std::int64_t original_length = 8192;

  HD double operator()(std::int64_t n) const {
    const std::int64_t steps = (n - 1) / original_length;
    return 1.0 + beta * std::log1p(static_cast<double>(steps));
  }
};

}  // namespace ssmax::normalizers::temperature
