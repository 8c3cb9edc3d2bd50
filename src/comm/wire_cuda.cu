#include "comm/wire_cuda.h"
#include "device/kernel_launch.cuh"

namespace ssmax::comm::cuda {

namespace {

constexpr int kThreads = 256;

template <class To, class From>
__global__ void convert(To* out, const From* x, std::int64_t count) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) out[i] = static_cast<To>(x[i]);
}

template <class To, class From>
void launch_convert(device::Stream& stream, const device::Tensor& out,
                    const device::ConstTensor& x) {
  const std::int64_t count = x.elements();
  device::launch_kernel<convert<To, From>>(
      stream, {.grid = device::blocks_for(count, kThreads), .block = kThreads}, out.data<To>(),
      x.data<From>(), count);
}

}  // namespace

void narrow(device::Stream& stream, const device::Tensor& out, const device::ConstTensor& x) {
  launch_convert<device::Bf16, float>(stream, out, x);
}

void widen(device::Stream& stream, const device::Tensor& out, const device::ConstTensor& x) {
  launch_convert<float, device::Bf16>(stream, out, x);
}

}  // namespace ssmax::comm::cuda
