#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <bit>
#include <cstdint>

#include "device/dtype.h"

// Elements of memory as floats in registers: one, four (what 16 bytes of f32 hold) or eight (what
// 16 bytes of bf16 hold) at a time. Addresses must be multiples of the size that is read or
// written.

namespace ssmax::device {

/// Elements of T in 16 bytes.
template <class T>
inline constexpr int kPackSize = 16 / static_cast<int>(sizeof(T));

template <int kCount>
struct Values {
  float at[kCount];

  __device__ float& operator[](int i) { return at[i]; }
  __device__ float operator[](int i) const { return at[i]; }
};

// Of a word that holds two bf16.
__device__ inline float low_half(std::uint32_t word) { return std::bit_cast<float>(word << 16); }
__device__ inline float high_half(std::uint32_t word) {
  return std::bit_cast<float>(word & 0xffff0000U);
}
__device__ inline std::uint32_t bf16_pair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  std::uint32_t word;
  memcpy(&word, &pair, sizeof(word));  // the toolkit's type is not one that bit_cast takes
  return word;
}

template <int kCount>
__device__ Values<kCount> load_values(const float* x) {
  static_assert(kCount == 1 || kCount % 4 == 0);
  Values<kCount> result;
  if constexpr (kCount == 1) {
    result[0] = *x;
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const float4 v = *reinterpret_cast<const float4*>(x + i);
      result[i] = v.x;
      result[i + 1] = v.y;
      result[i + 2] = v.z;
      result[i + 3] = v.w;
    }
  }
  return result;
}

template <int kCount>
__device__ Values<kCount> load_values(const Bf16* x) {
  static_assert(kCount == 1 || kCount == 4 || kCount == 8);
  if constexpr (kCount == 1) {
    return {{low_half(x->bits)}};
  } else if constexpr (kCount == 4) {
    const uint2 v = *reinterpret_cast<const uint2*>(x);
    return {{low_half(v.x), high_half(v.x), low_half(v.y), high_half(v.y)}};
  } else {
    const uint4 v = *reinterpret_cast<const uint4*>(x);
    return {{low_half(v.x), high_half(v.x), low_half(v.y), high_half(v.y), low_half(v.z),
             high_half(v.z), low_half(v.w), high_half(v.w)}};
  }
}

template <int kCount>
__device__ void store_values(float* x, const Values<kCount>& v) {
  static_assert(kCount == 1 || kCount % 4 == 0);
  if constexpr (kCount == 1) {
    *x = v[0];
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      *reinterpret_cast<float4*>(x + i) = make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]);
    }
  }
}

template <int kCount>
__device__ void store_values(Bf16* x, const Values<kCount>& v) {
  static_assert(kCount == 1 || kCount == 4 || kCount == 8);
  if constexpr (kCount == 1) {
    x->bits = __bfloat16_as_ushort(__float2bfloat16_rn(v[0]));
  } else if constexpr (kCount == 4) {
    *reinterpret_cast<uint2*>(x) = make_uint2(bf16_pair(v[0], v[1]), bf16_pair(v[2], v[3]));
  } else {
    *reinterpret_cast<uint4*>(x) = make_uint4(bf16_pair(v[0], v[1]), bf16_pair(v[2], v[3]),
                                              bf16_pair(v[4], v[5]), bf16_pair(v[6], v[7]));
  }
}

/// Sixteen bytes of T.
template <class T>
using Pack = Values<kPackSize<T>>;
template <class T>
__device__ Pack<T> load_pack(const T* x) {
  return load_values<kPackSize<T>>(x);
}

__device__ inline float load_one(const float* x) { return *x; }
__device__ inline float load_one(const Bf16* x) { return load_values<1>(x)[0]; }
__device__ inline void store_one(float* x, float value) { *x = value; }
__device__ inline void store_one(Bf16* x, float value) { store_values<1>(x, {{value}}); }

/// x rounded to T: what a load gives after a store.
template <class T>
__device__ float rounded(float x) {
  T stored;
  store_one(&stored, x);
  return load_one(&stored);
}

/// Whether `data` is a multiple of 16 bytes; null is.
inline bool is_aligned(const void* data) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
}

}  // namespace ssmax::device
