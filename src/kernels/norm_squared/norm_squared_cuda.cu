#include "device/warp.cuh"
#include "device/workspace_cuda.h"
#include "kernels/dispatch_cuda.cuh"
#include "kernels/norm_squared/norm_squared_launch.h"

namespace ssmax::kernels::cuda {

namespace {

constexpr int kThreads = 512;
/// Elements of a block: fixed, so that the order of the sum depends on the count alone.
constexpr std::int64_t kChunk = std::int64_t{1} << 16;

/// Sums of squares in double, where the square of a float is exact. kCount elements at a time; the
/// rest behind the last full group one by one.
__global__ void __launch_bounds__(kThreads)
    partial_squares_kernel(double* partials, const float* x, std::int64_t count) {
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kChunk;
  const std::int64_t end = begin + kChunk < count ? begin + kChunk : count;
  double sum = 0.0;
  const std::int64_t packed_end = begin + (end - begin) / 4 * 4;
  for (std::int64_t i = begin + 4 * threadIdx.x; i < packed_end; i += 4 * kThreads) {
    const auto v = device::load_values<4>(x + i);
#pragma unroll
    for (int j = 0; j < 4; ++j) sum += static_cast<double>(v[j]) * static_cast<double>(v[j]);
  }
  for (std::int64_t i = packed_end + threadIdx.x; i < end; i += kThreads) {
    sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  sum = device::block_sum(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads)
    add_partials_kernel(double* out, const double* partials, std::int64_t count) {
  double sum = 0.0;
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads) sum += partials[i];
  sum = device::block_sum(sum);
  if (threadIdx.x == 0) *out = sum;
}

__global__ void clip_scale_kernel(float* scale, const double* norm_squared, double max_norm) {
  if (threadIdx.x > 0) return;
  const double norm = sqrt(*norm_squared);
  double factor = 1.0;
  if (!(norm <= 1.7976931348623157e308)) {
    factor = norm - norm;  // NaN of infinity and of NaN
  } else if (max_norm > 0.0 && norm > max_norm) {
    factor = max_norm / norm;
  }
  *scale = static_cast<float>(factor);
}

}  // namespace

void norm_squared(Stream& stream, const Tensor& out, const ConstTensor& x) {
  dispatch(x.dtype(), "norm_squared", [](auto) {});
  const std::int64_t count = x.elements();
  require(device::is_aligned(x.raw()), "norm_squared: x must begin at a multiple of 16 bytes");
  const std::int64_t chunks = base::div_up(count, kChunk);
  auto* partials = static_cast<double*>(
      device::cuda::workspace(stream, chunks * static_cast<std::int64_t>(sizeof(double))));
  device::launch_kernel<partial_squares_kernel>(
      stream, {.grid = device::blocks_for(chunks, 1), .block = kThreads}, partials, x.data<float>(),
      count);
  device::launch_kernel<add_partials_kernel>(stream, {.grid = 1, .block = kThreads},
                                             out.data<double>(), partials, chunks);
}

void clip_scale(Stream& stream, const Tensor& gradient_scale, const ConstTensor& norm_squared,
                double max_norm) {
  dispatch(gradient_scale.dtype(), "clip_scale", [](auto) {});
  device::launch_kernel<clip_scale_kernel>(stream, {.grid = 1, .block = 32},
                                           gradient_scale.data<float>(),
                                           norm_squared.data<double>(), max_norm);
}

}  // namespace ssmax::kernels::cuda
