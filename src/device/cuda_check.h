#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <source_location>
#include <string>

// Included by files of the CUDA backend only.

namespace ssmax::device::cuda {

/// Throws Error(device) unless `status` is success; the message has the error's text, `what` and
/// the place, and how to fix what a user can fix.
void check(cudaError_t status, const std::string& what,
           const std::source_location& where = std::source_location::current());

/// Makes `gpu` the calling thread's device.
void use(int gpu);

/// Throws Error(device) unless a block on `gpu` can have so many bytes of shared memory.
void require_shared(int gpu, std::int64_t bytes);
/// Shared memory that a block of the GPU can ask for.
std::int64_t most_shared_bytes(int gpu);

}  // namespace ssmax::device::cuda

/// Checks a call of the CUDA runtime.
#define CUDA_CHECK(call) ::ssmax::device::cuda::check((call), #call)
