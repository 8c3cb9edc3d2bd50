#pragma once

#include <bit>
#include <cstdint>

#include "device/dtype.h"
#include "device/tensor.h"

namespace ssmax::kernels {

// Elements as float (double for double). A loop that loads and stores through these is vectorized;
// copying a Bf16 as an object is not: the compiler then goes through memory one element at a time.

inline float load(const float& x) { return x; }
inline float load(const device::Bf16& x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16);
}

inline double load(const double& x) { return x; }

inline void store(double& to, double value) { to = value; }
inline void store(float& to, float value) { to = value; }

/// Rounds as Bf16 itself does: to nearest, ties to even, NaN stays NaN.
inline void store(device::Bf16& to, float value) {
  const auto word = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = word + 0x7fffU + ((word >> 16) & 1U);
  const std::uint32_t quiet = word | 0x00400000U;
  const bool is_nan = (word & 0x7fffffffU) > 0x7f800000U;
  to.bits = static_cast<std::uint16_t>((is_nan ? quiet : rounded) >> 16);
}

/// Data of an operand that may be left out.
template <class T>
const T* data_or_null(const device::ConstTensor& tensor) {
  return tensor.empty() ? nullptr : tensor.data<T>();
}

}  // namespace ssmax::kernels
