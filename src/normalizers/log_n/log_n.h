#pragma once

#include <cmath>
#include <tuple>

#include "base/field.h"
#include "base/host_device.h"

/// The logarithmic scale of Qwen (2023), after Su 2021: weight = softmax(u z), so that scores grow
/// beyond the training length. Nothing is learned.
namespace ssmax::normalizers::log_n {

struct Options {
  std::int64_t train_length = 1024;

  static constexpr auto fields() {
    return std::tuple(base::field("train_length", &Options::train_length,
                                  "Keys up to which the scale is 1", base::at_least(2)));
  }
};

/// u = ln n / ln train_length beyond the training length, else 1.
struct Length {
  std::int64_t train_length = 1024;

  HD double operator()(std::int64_t n) const {
    return n > train_length
               ? std::log(static_cast<double>(n)) / std::log(static_cast<double>(train_length))
               : 1.0;
  }
};

}  // namespace ssmax::normalizers::log_n
