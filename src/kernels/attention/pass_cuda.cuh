#pragma once

#include <cstdint>

#include "base/checked.h"
#include "device/kernel_launch.cuh"
#include "kernels/op.h"

/// How the fused attention passes are launched. A pass is a class with
///   Arguments       what the kernel takes; a thread's object keeps a reference to it
///   kThreads        of a block
///   kLeastBlocks    of a multiprocessor; 1 to deal registers anew, else 0: the compiler's choice
///   shared_bytes()  of dynamic shared memory
///   run()           the work of a thread
namespace ssmax::kernels::cuda {

template <class Pass>
__global__ void __launch_bounds__(Pass::kThreads, Pass::kLeastBlocks)
    pass_kernel(const __grid_constant__ typename Pass::Arguments arguments) {
  Pass(arguments).run();
}

template <class Pass>
void launch_pass(Stream& stream, const dim3& grid, const typename Pass::Arguments& arguments) {
  device::launch_kernel<pass_kernel<Pass>>(
      stream, {.grid = grid, .block = dim3(Pass::kThreads), .shared_bytes = Pass::shared_bytes()},
      arguments);
}

/// Heads, sequences, tiles.
inline dim3 tile_grid(std::int64_t heads, std::int64_t batch, std::int64_t tiles) {
  return {static_cast<unsigned>(heads), static_cast<unsigned>(batch), static_cast<unsigned>(tiles)};
}

}  // namespace ssmax::kernels::cuda
