#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "device/ptx.cuh"
#include "device/tensor_map.h"
#include "simt/warpgroup.h"

// The emulator's side of src/device/warpgroup.cuh.

namespace ssmax::device {

inline constexpr bool kHasWarpgroups = true;
inline void fail_without_warpgroups() { simt::fail("code for other GPUs"); }

inline constexpr int kWarpgroupSize = 128;
inline constexpr int kTileAlignment = 1024;
inline constexpr int kTileRowBytes = 128;

struct MatrixDescriptor {
  std::uint64_t bits;

  MatrixDescriptor at(int bytes) const { return {bits + static_cast<std::uint64_t>(bytes / 16)}; }
};

/// Addresses are counted from the block's dynamic memory, as they are where a block has no other.
inline MatrixDescriptor matrix_descriptor(SharedAddress address, int next_tile = 16) {
  const auto offset = address - shared_address(simt::dynamic_shared_memory());
  if (address % 16 != 0 || next_tile % 16 != 0) {
    simt::fail("a matrix descriptor's address and strides must be multiples of 16 bytes");
  }
  return {(offset & 0x3ffffU) >> 4 | static_cast<std::uint64_t>(next_tile / 16) << 16 |
          std::uint64_t{8 * kTileRowBytes / 16} << 32 | std::uint64_t{1} << 62};
}

inline void products_begin() { simt::products_begin(); }
template <int kN>
void settle([[maybe_unused]] float (&c)[kN][4]) {}
inline void products_commit() { simt::products_commit(); }
template <int kPending>
void products_wait(Site site = Site::current()) {
  simt::products_wait(site, kPending);
}

enum class Sums : int { begin = 0, add = 1 };

template <int kN>
void multiply_async(float (&c)[kN][4], MatrixDescriptor a, MatrixDescriptor b, Sums sums) {
  static_assert(kN == 8 || kN == 16);
  simt::multiply_async(
      {&c[0][0], 8 * kN, nullptr, {a.bits, true}, {b.bits, true}, sums == Sums::add});
}
template <int kN>
void multiply_async(float (&c)[kN][4], const std::uint32_t (&a)[4], MatrixDescriptor b, Sums sums) {
  static_assert(kN == 8 || kN == 16);
  simt::multiply_async({&c[0][0], 8 * kN, a, {}, {b.bits, false}, sums == Sums::add});
}

template <int kN>
void multiply_columns_async(float (&c)[kN][4], MatrixDescriptor a, MatrixDescriptor b, Sums sums) {
  static_assert(kN == 1 || kN == 8);
  simt::multiply_async(
      {&c[0][0], 8 * kN, nullptr, {a.bits, false}, {b.bits, false}, sums == Sums::add});
}

using BarrierAddress = SharedAddress;

inline void barrier_init(BarrierAddress barrier, int arrivals) {
  simt::barrier_init(reinterpret_cast<void*>(barrier), arrivals);
}
inline void barriers_ready() { simt::barriers_ready(); }
inline void barrier_arrive(BarrierAddress barrier) {
  simt::barrier_arrive(reinterpret_cast<void*>(barrier), 0);
}
inline void barrier_arrive_expecting(BarrierAddress barrier, int bytes) {
  simt::barrier_arrive(reinterpret_cast<void*>(barrier), bytes);
}
inline void barrier_wait(BarrierAddress barrier, int parity, Site site = Site::current()) {
  simt::barrier_wait(site, reinterpret_cast<void*>(barrier), parity);
}

template <int kThreads>
void partial_barrier(int number, Site site = Site::current()) {
  simt::partial_barrier(site, static_cast<unsigned>(number), kThreads);
}

inline void copy_box_async(SharedAddress tile, const TensorMap& map, int column, int head, int row,
                           int sequence, BarrierAddress barrier) {
  simt::copy_box(reinterpret_cast<void*>(tile), map.encoded, {column, head, row, sequence},
                 reinterpret_cast<void*>(barrier));
}
inline void copy_bytes_async(SharedAddress to, const void* from, int bytes,
                             BarrierAddress barrier) {
  simt::copy_bytes(reinterpret_cast<void*>(to), from, bytes, reinterpret_cast<void*>(barrier));
}
inline void publish_shared() {}

template <int kCount>
void give_registers_back() {
  static_assert(kCount % 8 == 0 && kCount >= 24 && kCount <= 256);
}
template <int kCount>
void take_registers() {
  static_assert(kCount % 8 == 0 && kCount >= 24 && kCount <= 256);
}

}  // namespace ssmax::device
