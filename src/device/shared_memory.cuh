#pragma once

#include <cuda_runtime.h>

// How kernels get shared memory; written nowhere else, so that an emulated device can guard it.

namespace ssmax::device {

/// The dynamic shared memory of the launch, aligned to 256 bytes.
template <class T>
__device__ T* dynamic_shared() {
  extern __shared__ __align__(256) unsigned char ssmax_dynamic_shared[];
  return reinterpret_cast<T*>(ssmax_dynamic_shared);
}

/// One T of the block, the same at every call in a kernel with this T; not initialized.
template <class T>
__device__ T& static_shared() {
  __shared__ __align__(16) unsigned char storage[sizeof(T)];
  return *reinterpret_cast<T*>(storage);
}

}  // namespace ssmax::device
