#pragma once

#include <cuda_runtime.h>

#include "device/shared_memory.cuh"

// Sums and maxima over warps and blocks. The order of every sum is fixed by the shape of the
// launch, so results repeat bit for bit.

namespace ssmax::device {

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kAllLanes = 0xffffffffU;

// Threads are counted along x only.
__device__ inline int lane_id() { return static_cast<int>(threadIdx.x) % kWarpSize; }
__device__ inline int warp_id() { return static_cast<int>(threadIdx.x) / kWarpSize; }
/// The same for all lanes, as the compiler sees too: branches on it are the whole warp's. All lanes
/// call it.
__device__ inline int uniform_warp_id() { return __shfl_sync(kAllLanes, warp_id(), 0); }
__device__ inline int warp_count() { return static_cast<int>(blockDim.x) / kWarpSize; }

// `neutral` changes no result that `some` is part of.
struct Sum {
  template <class T>
  __device__ static T apply(T a, T b) {
    return a + b;
  }
  template <class T>
  __device__ static T neutral(T /*some*/) {
    return T{0};
  }
};
/// The larger; NaN when either is.
struct Maximum {
  template <class T>
  __device__ static T apply(T a, T b) {
    return a > b || a != a ? a : b;
  }
  template <class T>
  __device__ static T neutral(T some) {
    return some;
  }
};

/// Of all lanes of the warp, or of each kLanes next to each other, in every lane.
template <class Operation, int kLanes = kWarpSize, class T>
__device__ T warp_reduce(T value) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    value = Operation::apply(value, __shfl_xor_sync(kAllLanes, value, offset));
  }
  return value;
}
template <class T>
__device__ T warp_sum(T value) {
  return warp_reduce<Sum>(value);
}
template <class T>
__device__ T warp_max(T value) {
  return warp_reduce<Maximum>(value);
}

namespace detail {

template <class T>
struct WarpResults {
  T values[kWarpSize];
};

}  // namespace detail

/// Of all threads of the block, in every thread. All threads must call it; calls may follow each
/// other without a barrier between them.
template <class Operation, class T>
__device__ T block_reduce(T value) {
  value = warp_reduce<Operation>(value);
  if (warp_count() == 1) return value;
  auto& results = static_shared<detail::WarpResults<T>>();
  __syncthreads();  // the call before may still be reading
  if (lane_id() == 0) results.values[warp_id()] = value;
  __syncthreads();
  // Every warp reduces them again: were each thread to read all of them, shared memory would serve
  // warps x warps accesses.
  value =
      lane_id() < warp_count() ? results.values[lane_id()] : Operation::neutral(results.values[0]);
  return warp_reduce<Operation>(value);
}
template <class T>
__device__ T block_sum(T value) {
  return block_reduce<Sum>(value);
}
template <class T>
__device__ T block_max(T value) {
  return block_reduce<Maximum>(value);
}

}  // namespace ssmax::device
