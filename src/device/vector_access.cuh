#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <bit>
#include <cstdint>

#include "device/dtype.h"

// Elements of memory as floats in registers, one at a time or 16 bytes at a time.

namespace ssmax::device {

/// Elements of T in 16 bytes.
template <class T>
inline constexpr int kPackSize = 16 / static_cast<int>(sizeof(T));

template <class T>
struct Pack {
  float values[kPackSize<T>];

  __device__ float& operator[](int i) { return values[i]; }
  __device__ float operator[](int i) const { return values[i]; }
};

__device__ inline float load_one(const float* x) { return *x; }
__device__ inline float load_one(const Bf16* x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x->bits) << 16);
}

__device__ inline void store_one(float* x, float value) { *x = value; }
__device__ inline void store_one(Bf16* x, float value) {
  x->bits = std::bit_cast<std::uint16_t>(__float2bfloat16_rn(value));
}

/// x rounded to T and back: what a later load of a stored value gives.
template <class T>
__device__ float rounded(float x) {
  T stored;
  store_one(&stored, x);
  return load_one(&stored);
}

__device__ inline float low_half(std::uint32_t word) { return std::bit_cast<float>(word << 16); }
__device__ inline float high_half(std::uint32_t word) {
  return std::bit_cast<float>(word & 0xffff0000U);
}
__device__ inline std::uint32_t bf16_pair(float low, float high) {
  return std::bit_cast<std::uint32_t>(__floats2bfloat162_rn(low, high));
}

/// x must be a multiple of 16 bytes.
__device__ inline Pack<float> load_pack(const float* x) {
  const float4 v = *reinterpret_cast<const float4*>(x);
  return {{v.x, v.y, v.z, v.w}};
}
__device__ inline Pack<Bf16> load_pack(const Bf16* x) {
  const uint4 v = *reinterpret_cast<const uint4*>(x);
  return {{low_half(v.x), high_half(v.x), low_half(v.y), high_half(v.y), low_half(v.z),
           high_half(v.z), low_half(v.w), high_half(v.w)}};
}

__device__ inline void store_pack(float* x, const Pack<float>& p) {
  *reinterpret_cast<float4*>(x) = make_float4(p[0], p[1], p[2], p[3]);
}
__device__ inline void store_pack(Bf16* x, const Pack<Bf16>& p) {
  *reinterpret_cast<uint4*>(x) = make_uint4(bf16_pair(p[0], p[1]), bf16_pair(p[2], p[3]),
                                            bf16_pair(p[4], p[5]), bf16_pair(p[6], p[7]));
}

/// Whether every row of `row` elements from `data` begins at a multiple of 16 bytes.
template <class T>
bool is_packable(const T* data, std::int64_t row) {
  return row % kPackSize<T> == 0 && reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
}

}  // namespace ssmax::device
