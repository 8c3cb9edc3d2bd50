#pragma once

#include <tuple>

#include "kernels/attention/normalizer.h"

namespace ssmax::normalizers::softmax {

/// Vaswani et al., "Attention Is All You Need", 2017, eq. 1: weight = e^(z_j) / sum_k e^(z_k), with
/// z = q.k / sqrt(D). Row scale 1; the weighting is kernels::SoftmaxWeighting. Nothing to choose.
struct Options {
  static constexpr auto fields() { return std::tuple(); }
};

}  // namespace ssmax::normalizers::softmax
