#pragma once

#include <tuple>

#include "kernels/attention/normalizer.h"

namespace ssmax::normalizers::softmax {

/// Vaswani et al., "Attention Is All You Need", 2017, eq. 1. Nothing to choose.
struct Options {
  static constexpr auto fields() { return std::tuple(); }
};

}  // namespace ssmax::normalizers::softmax
