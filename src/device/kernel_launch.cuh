#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <source_location>
#include <string>

#include "base/checked.h"
#include "base/errors.h"
#include "device/cuda_check.h"
#include "device/queue.h"

namespace ssmax::device {

/// Blocks, threads of a block (a multiple of 32) and bytes of dynamic shared memory.
struct LaunchShape {
  dim3 grid;
  dim3 block;
  std::int64_t shared_bytes = 0;
  std::source_location where = std::source_location::current();
};

/// Blocks that give every one of `count` things a thread, `per_block` to a block.
inline dim3 blocks_for(std::int64_t count, std::int64_t per_block) {
  return dim3(base::narrow<unsigned>(base::div_up(count, per_block)));
}

namespace detail {

/// Dynamic shared memory beyond this is asked for by name of the kernel: together with the static
/// part, which is not known here, all may have 48 KiB.
inline constexpr std::int64_t kSharedBytesWithoutAsking = 32 * 1024;

/// "scale<float> at src/kernels/x.cu:12", from the compiler's text of this very function.
template <auto kernel>
std::string place_of(const LaunchShape& shape) {
  const std::string text = __PRETTY_FUNCTION__;
  const std::size_t begin = text.find("kernel = ");
  std::string name = begin == std::string::npos ? text : text.substr(begin + 9);
  name = name.substr(0, name.find_first_of(";]"));
  return "kernel " + name + " at " + shape.where.file_name() + ":" +
         std::to_string(shape.where.line());
}

}  // namespace detail

/// The one way to launch a kernel: queues `kernel` with these arguments, converted to its
/// parameters. A launch without blocks does nothing. Error(device) with the kernel's name and the
/// place when the launch is refused.
template <auto kernel, class... Arguments>
void launch_kernel(Stream& stream, const LaunchShape& shape, Arguments... arguments) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  try {
    cuda::use(stream.device().index);
    if (shape.shared_bytes > detail::kSharedBytesWithoutAsking) {
      cuda::require_shared(stream.device().index, shape.shared_bytes);
      CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      base::narrow<int>(shape.shared_bytes)));
    }
    cudaLaunchConfig_t config{};
    config.gridDim = shape.grid;
    config.blockDim = shape.block;
    config.dynamicSmemBytes = static_cast<std::size_t>(shape.shared_bytes);
    config.stream = cuda::native(stream);
    CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, arguments...));
  } catch (const base::Error& error) {
    throw error.within(detail::place_of<kernel>(shape));
  }
}

}  // namespace ssmax::device
