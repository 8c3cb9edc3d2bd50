#include "simt/arithmetic.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace ssmax::simt {

namespace {

constexpr int kFractionBits = 52;  // of a double
constexpr std::uint64_t kExponent = std::uint64_t{0x7ff} << kFractionBits;
constexpr std::uint64_t kMagnitude = ~std::uint64_t{0} >> 1;
/// Of a double that a float has not.
constexpr std::uint64_t kBelowFloat = (std::uint64_t{1} << (kFractionBits - 23)) - 1;
constexpr std::uint64_t kKeptBits = 24;
/// Below every product: the exponent of 2^-300.
constexpr std::uint64_t kLeastExponent = std::uint64_t{1023 - 300} << kFractionBits;

std::uint64_t bits_of(double value) { return std::bit_cast<std::uint64_t>(value); }
double number_of(std::uint64_t bits) { return std::bit_cast<double>(bits); }

float low_half(std::uint32_t word) { return std::bit_cast<float>(word << 16); }
float high_half(std::uint32_t word) { return std::bit_cast<float>(word & 0xffff0000U); }

}  // namespace

float exp2_approx(float x) {
  const float y = std::exp2(x);
  if (std::fpclassify(y) == FP_SUBNORMAL) return 0.0F;
  if (!std::isnormal(y) || y == 1.0F) return y;
  const std::uint32_t drawn = (std::bit_cast<std::uint32_t>(x) * 0x9E3779B1U >> 16) % 5;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(y) + drawn - 2);
}

void add_products(float (&c)[kUnitColumns], const float (&a)[kUnitDepth],
                  const float (&b)[kUnitDepth][kUnitColumns]) {
  double products[kUnitDepth][kUnitColumns];
  std::uint64_t top[kUnitColumns];
  for (int n = 0; n < kUnitColumns; ++n) top[n] = bits_of(c[n]) & kMagnitude;
  for (int k = 0; k < kUnitDepth; ++k) {
    for (int n = 0; n < kUnitColumns; ++n) {
      products[k][n] = static_cast<double>(a[k]) * static_cast<double>(b[k][n]);
      top[n] = std::max(top[n], bits_of(products[k][n]) & kMagnitude);
    }
  }
  std::uint64_t largest = 0;
  for (const std::uint64_t one : top) largest = std::max(largest, one);
  if (largest >= kExponent) {  // infinity or NaN
    for (int n = 0; n < kUnitColumns; ++n) {
      double sum = c[n];
      for (int k = 0; k < kUnitDepth; ++k) sum += products[k][n];
      c[n] = static_cast<float>(sum);
    }
    return;
  }
  double up[kUnitColumns];
  std::int32_t sums[kUnitColumns];
  for (int n = 0; n < kUnitColumns; ++n) {
    top[n] = std::max(top[n] & kExponent, kLeastExponent);
    up[n] = number_of((std::uint64_t{2 * 1023} << kFractionBits) + (kKeptBits << kFractionBits) -
                      top[n]);
    sums[n] = static_cast<std::int32_t>(static_cast<double>(c[n]) * up[n]);
  }
  for (int k = 0; k < kUnitDepth; ++k) {
    for (int n = 0; n < kUnitColumns; ++n) {
      sums[n] += static_cast<std::int32_t>(products[k][n] * up[n]);
    }
  }
  for (int n = 0; n < kUnitColumns; ++n) {
    const double unit = number_of(top[n] - (kKeptBits << kFractionBits));
    c[n] =
        static_cast<float>(number_of(bits_of(static_cast<double>(sums[n]) * unit) & ~kBelowFloat));
  }
}

void multiply_add_warp(const std::array<MatrixLane*, kWarpSize>& lanes) {
  float a[16][2][kUnitDepth];
  float b[2][kUnitDepth][kUnitColumns];
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    const unsigned row = lane / 4;
    const unsigned column = 2 * (lane % 4);
    for (unsigned i = 0; i < 4; ++i) {
      const std::uint32_t pair = lanes[lane]->a[i];
      a[row + 8 * (i % 2)][i / 2][column] = low_half(pair);
      a[row + 8 * (i % 2)][i / 2][column + 1] = high_half(pair);
    }
    for (unsigned i = 0; i < 2; ++i) {
      const std::uint32_t pair = lanes[lane]->b[i];
      b[i][column][row] = low_half(pair);
      b[i][column + 1][row] = high_half(pair);
    }
  }
  for (unsigned row = 0; row < 16; ++row) {
    float c[kUnitColumns];
    const auto place = [&](unsigned n) -> float& {
      return lanes[row % 8 * 4 + n / 2]->c[row / 8 * 2 + n % 2];
    };
    for (unsigned n = 0; n < kUnitColumns; ++n) c[n] = place(n);
    for (int half = 0; half < 2; ++half) add_products(c, a[row][half], b[half]);
    for (unsigned n = 0; n < kUnitColumns; ++n) place(n) = c[n];
  }
}

}  // namespace ssmax::simt
