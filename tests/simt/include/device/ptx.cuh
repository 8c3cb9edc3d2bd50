#pragma once

#include <cuda_bf16.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "device/dtype.h"
#include "simt/engine.h"
#include "simt/traffic.h"

// The emulator's side of src/device/ptx.cuh: the same functions with the layouts written out.

namespace ssmax::device {

using simt::Site;

using SharedAddress = std::uintptr_t;

inline SharedAddress shared_address(const void* pointer) {
  return reinterpret_cast<SharedAddress>(pointer);
}

namespace emulated {

inline float low_half(std::uint32_t word) { return std::bit_cast<float>(word << 16); }
inline float high_half(std::uint32_t word) { return std::bit_cast<float>(word & 0xffff0000U); }

/// Operands of one lane, and where its accumulators are.
struct MatrixLane {
  float* c;
  const std::uint32_t* a;
  std::uint32_t b[2];
};

/// Exact products summed in double, then added in fp32: at least as exact as a tensor core, whose
/// own order of summation is not documented.
inline void multiply_add_warp(const std::array<MatrixLane*, simt::kWarpSize>& lanes) {
  float a[16][16];
  float b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const int row = lane / 4;
    const int column = 2 * (lane % 4);
    for (int i = 0; i < 4; ++i) {
      const std::uint32_t pair = lanes[static_cast<std::size_t>(lane)]->a[i];
      a[row + 8 * (i % 2)][column + 8 * (i / 2)] = low_half(pair);
      a[row + 8 * (i % 2)][column + 8 * (i / 2) + 1] = high_half(pair);
    }
    for (int i = 0; i < 2; ++i) {
      const std::uint32_t pair = lanes[static_cast<std::size_t>(lane)]->b[i];
      b[column + 8 * i][row] = low_half(pair);
      b[column + 8 * i + 1][row] = high_half(pair);
    }
  }
  for (int row = 0; row < 16; ++row) {
    double sums[8] = {};
    for (int k = 0; k < 16; ++k) {
      for (int n = 0; n < 8; ++n) {
        sums[n] += static_cast<double>(a[row][k]) * static_cast<double>(b[k][n]);
      }
    }
    for (int n = 0; n < 8; ++n) {
      float& c = lanes[static_cast<std::size_t>(row % 8 * 4 + n / 2)]->c[row / 8 * 2 + n % 2];
      c = static_cast<float>(static_cast<double>(c) + sums[n]);
    }
  }
}

struct MatrixRow {
  std::uint32_t* to;
  SharedAddress row;
};

enum class Order : unsigned char { plain, transposed };

template <Order kOrder>
void load_matrices_warp(const std::array<MatrixRow*, simt::kWarpSize>& lanes) {
  for (std::size_t m = 0; m < 4; ++m) {
    std::uint16_t matrix[8][8];
    for (std::size_t r = 0; r < 8; ++r) {
      const SharedAddress row = lanes[8 * m + r]->row;
      if (row % 16 != 0) {
        simt::fail("ldmatrix: a row does not begin at a multiple of 16 bytes");
      }
      std::memcpy(matrix[r], reinterpret_cast<const void*>(row), 16);
    }
    for (std::size_t lane = 0; lane < 32; ++lane) {
      const std::size_t r = lane / 4;
      const std::size_t c = 2 * (lane % 4);
      constexpr bool kPlain = kOrder == Order::plain;
      const std::uint32_t low = kPlain ? matrix[r][c] : matrix[c][r];
      const std::uint32_t high = kPlain ? matrix[r][c + 1] : matrix[c + 1][r];
      lanes[lane]->to[m] = low | high << 16;
    }
  }
}

}  // namespace emulated

inline void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                         std::uint32_t b1, Site site = Site::current()) {
  emulated::MatrixLane lane{c, a, {b0, b1}};
  simt::collective(site, "mma", 0xffffffffU, 0, lane,
                   [](auto& lanes) { emulated::multiply_add_warp(lanes); });
}

inline void load_matrices(std::uint32_t (&to)[4], SharedAddress row, Site site = Site::current()) {
  simt::touch(simt::Access::matrix_load, reinterpret_cast<const void*>(row), 16, nullptr);
  emulated::MatrixRow lane{to, row};
  simt::collective(site, "ldmatrix", 0xffffffffU, 0, lane, [](auto& lanes) {
    emulated::load_matrices_warp<emulated::Order::plain>(lanes);
  });
}

inline void load_matrices_transposed(std::uint32_t (&to)[4], SharedAddress row,
                                     Site site = Site::current()) {
  simt::touch(simt::Access::matrix_load, reinterpret_cast<const void*>(row), 16, nullptr);
  emulated::MatrixRow lane{to, row};
  simt::collective(site, "ldmatrix.trans", 0xffffffffU, 0, lane, [](auto& lanes) {
    emulated::load_matrices_warp<emulated::Order::transposed>(lanes);
  });
}

enum class Fill : unsigned char { source, zero };

inline void copy_async_16(SharedAddress shared, const void* global, Fill fill) {
  alignas(16) static constexpr unsigned char kZeros[16] = {};
  if (shared % 16 != 0 || reinterpret_cast<std::uintptr_t>(global) % 16 != 0) {
    simt::fail("cp.async: both addresses must be multiples of 16 bytes");
  }
  simt::copy_async(reinterpret_cast<void*>(shared), fill == Fill::source ? global : kZeros, 16);
}
inline void copy_async_commit() { simt::commit_copies(); }
template <int kPending>
void copy_async_wait() {
  simt::wait_copies(kPending);
}

/// The hardware's error is at most 2 ulp; subnormal results are 0.
inline float exp2_approx(float x) {
  if (simt::counting) ++simt::counted_exponentials;
  const float y = std::exp2(x);
  return std::fpclassify(y) == FP_SUBNORMAL ? 0.0F : y;
}

inline std::uint32_t pack_bf16(float low, float high) {
  const auto bits = [](float x) { return std::uint32_t{__float2bfloat16_rn(x).bits}; };
  return bits(low) | bits(high) << 16;
}

}  // namespace ssmax::device
