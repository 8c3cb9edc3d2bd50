#pragma once

#include <cuda_runtime.h>

#include "simt/engine.h"

// The emulator's side of src/device/shared_memory.cuh: memory of the block that is guarded and
// filled with set bits when the block starts.

namespace ssmax::device {

template <class T>
__device__ T* dynamic_shared() {
  return static_cast<T*>(simt::dynamic_shared_memory());
}

template <class T>
__device__ T& static_shared() {
  static const char key = 0;  // one for every T
  return *static_cast<T*>(simt::static_shared_memory(&key, sizeof(T)));
}

}  // namespace ssmax::device
