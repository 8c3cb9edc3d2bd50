#pragma once

#include <cstdint>

namespace ssmax::kernels {

/// Whether the statistic is over x itself, or over what is left when its mean is taken off.
enum class Center : std::uint8_t { none, mean };

/// A norm of the rows of a matrix, forward, on any device. M rows, C channels.
template <class T>
struct NormForward {
  T* sum;          ///< (M, C) x + delta; null without a delta; may be x
  T* y;            ///< (M, C)
  float* mean;     ///< (M); null without a center
  float* rstd;     ///< (M)
  const T* x;      ///< (M, C)
  const T* delta;  ///< (M, C) or null
  const T* weight;
  const T* bias;  ///< null: none
  std::int64_t M, C;
  float eps;
};

}  // namespace ssmax::kernels
