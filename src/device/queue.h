#pragma once

#include <cuda_runtime.h>

#include "device/stream.h"

// Included by files of the CUDA backend only.

namespace ssmax::device::cuda {

/// What a Stream on a GPU holds.
struct Queue {
  int gpu = 0;
  cudaStream_t stream = nullptr;
  void* workspace = nullptr;
  std::int64_t workspace_bytes = 0;
};

inline cudaStream_t native(Stream& stream) { return stream.queue()->stream; }

}  // namespace ssmax::device::cuda
