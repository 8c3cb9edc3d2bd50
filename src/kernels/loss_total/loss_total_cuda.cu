#include "device/warp.cuh"
#include "kernels/dispatch_cuda.cuh"
#include "kernels/loss_total/loss_total_launch.h"

namespace ssmax::kernels::cuda {

namespace {

constexpr int kThreads = 1024;

/// One block: a thread adds every kThreads-th row, the block's sum runs in a fixed order.
__global__ void __launch_bounds__(kThreads)
    add_loss_total_kernel(double* total, const float* losses, const std::int32_t* targets,
                          std::int64_t rows) {
  double sum = 0.0;
  double count = 0.0;
  for (std::int64_t row = threadIdx.x; row < rows; row += kThreads) {
    sum += static_cast<double>(losses[row]);
    count += targets[row] >= 0 ? 1.0 : 0.0;
  }
  sum = device::block_sum(sum);
  count = device::block_sum(count);
  if (threadIdx.x == 0) {
    total[0] += sum;
    total[1] += count;
  }
}

}  // namespace

void add_loss_total(Stream& stream, const Tensor& total, const ConstTensor& losses,
                    const ConstTensor& targets) {
  dispatch(losses.dtype(), "add_loss_total", [](auto) {});
  device::launch_kernel<add_loss_total_kernel>(stream, {.grid = 1, .block = kThreads},
                                               total.data<double>(), losses.data<float>(),
                                               targets.data<std::int32_t>(), losses.elements());
}

}  // namespace ssmax::kernels::cuda
