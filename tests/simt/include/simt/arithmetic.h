#pragma once

#include <array>
#include <cstdint>

#include "simt/engine.h"

// Arithmetic of a GPU's units that is not that of the processor: as inexact as it may be there.

namespace ssmax::simt {

/// 2^x, off by up to the 2 ulp that ex2.approx.ftz may be off by, drawn from x. Exact are what
/// rounds to 1, infinity and 0, which subnormal results are.
float exp2_approx(float x);

/// Columns and summands that the emulated matrix unit works on at a time.
inline constexpr int kUnitColumns = 8;
inline constexpr int kUnitDepth = 8;

/// c[n] += sum over k of a[k] b[k][n], as the matrix units of compute capability 8.0 do it; later
/// ones keep a bit more (Khattak and Mikaitis, "Accurate Models of NVIDIA Tensor Cores", 2025,
/// arXiv:2512.07004). Products are exact. What is added is cut off 24 bits behind the leading one
/// of the largest, c among them, and so is the sum at 23: always towards zero. The hardware takes
/// the largest by the exponents of the factors, which may keep a bit more too.
void add_products(float (&c)[kUnitColumns], const float (&a)[kUnitDepth],
                  const float (&b)[kUnitDepth][kUnitColumns]);

/// A lane of mma.m16n8k16: its operands, and where its accumulators are.
struct MatrixLane {
  float* c;
  const std::uint32_t* a;
  std::uint32_t b[2];
};
void multiply_add_warp(const std::array<MatrixLane*, kWarpSize>& lanes);

}  // namespace ssmax::simt
