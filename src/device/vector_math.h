#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "device/dtype.h"

namespace ssmax::device {

/// e^x for the CPU backend's float loops: branch-free, so that the compiler vectorizes it. Cephes
/// style reduction x = k ln 2 + r with a degree-6 polynomial; relative error below 2e-7. Inputs
/// below -87 give values near the smallest normal number, inputs above 88 are clamped.
inline float vector_exp(float x) {
  x = x < -87.0F ? -87.0F : x;
  x = x > 88.0F ? 88.0F : x;
  const float k_real = x * 1.44269504F;
  const float shifted = k_real + 12582912.0F;  // rounds to an integer in the low mantissa bits
  const float k = shifted - 12582912.0F;
  float r = x - k * 0.693359375F;
  r = r - k * -2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  const std::int32_t exponent = (std::bit_cast<std::int32_t>(shifted) - 0x4B400000) << 23;
  return std::bit_cast<float>(std::bit_cast<std::int32_t>(p) + exponent);
}

/// The double twin is exact.
inline double vector_exp(double x) { return std::exp(x); }

}  // namespace ssmax::device
