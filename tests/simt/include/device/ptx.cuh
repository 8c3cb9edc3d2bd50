#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <cstring>

#include "device/dtype.h"
#include "simt/arithmetic.h"
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
  simt::MatrixLane lane{c, a, {b0, b1}};
  simt::collective(site, "mma", 0xffffffffU, 0, lane,
                   [](auto& lanes) { simt::multiply_add_warp(lanes); });
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

template <class T>
T only_here(T x) {
  return x;
}

inline float exp2_approx(float x) {
  if (simt::counting) ++simt::counted_exponentials;
  return simt::exp2_approx(x);
}

inline std::uint32_t pack_bf16(float low, float high) {
  const auto bits = [](float x) { return std::uint32_t{__float2bfloat16_rn(x).bits}; };
  return bits(low) | bits(high) << 16;
}

}  // namespace ssmax::device
