#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include "base/errors.h"
#include "device/kernel_launch.cuh"
#include "device/vector_access.cuh"
#include "kernels/elements.h"
#include "kernels/op.h"

// What the CUDA side of every op begins with: its element type and how many elements a thread
// reads at once.

namespace ssmax::kernels::cuda {

/// Calls work(Tag<T>{}) for f32 or bf16; Error(usage) for f64, which is the CPU's reference.
template <class Work>
void dispatch(DType dtype, const char* op, Work&& work) {
  switch (dtype) {
    case DType::bf16:
      work(device::Tag<device::Bf16>{});
      return;
    case DType::f32:
      work(device::Tag<float>{});
      return;
    default:
      throw base::Error(base::ErrorKind::usage,
                        std::string(op) + ": " + std::string(device::name_of(dtype)) +
                            " runs on the CPU only; use training.precision=bf16 or fp32, or "
                            "training.device=cpu");
  }
}

template <int kValue>
struct Count {
  static constexpr int value = kValue;
};

/// Calls work(Count<n>{}) with n = kPacked where all `data` and rows of `row` elements allow
/// 16-byte accesses of kPacked elements, and n = 1 otherwise.
template <int kPacked, class Work>
void dispatch_width(std::initializer_list<const void*> data, std::int64_t row, Work&& work) {
  bool aligned = row % kPacked == 0;
  for (const void* one : data) aligned = aligned && device::is_aligned(one);
  if (aligned) {
    work(Count<kPacked>{});
  } else {
    work(Count<1>{});
  }
}

inline constexpr int kElementThreads = 256;

/// The place of a thread among all of the grid.
__device__ inline std::int64_t global_thread() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

/// body(i) for i in [0, count), a thread each.
template <class Body>
__global__ void for_each_kernel(Body body, std::int64_t count) {
  const std::int64_t i = global_thread();
  if (i < count) body(i);
}

template <class Body>
void for_each(Stream& stream, std::int64_t count, const Body& body,
              const std::source_location& where = std::source_location::current()) {
  device::launch_kernel<for_each_kernel<Body>>(stream,
                                               {.grid = device::blocks_for(count, kElementThreads),
                                                .block = kElementThreads,
                                                .where = where},
                                               body, count);
}

}  // namespace ssmax::kernels::cuda
