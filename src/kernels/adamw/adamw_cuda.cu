#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/adamw/adamw_launch.h"
#include "kernels/dispatch_cuda.cuh"

namespace ssmax::kernels::cuda {

namespace {

/// A segment with its constants, folded in double and rounded once.
struct Folded {
  std::int64_t begin, end;
  float step;          // learning rate / (1 - beta1^t)
  float inverse_root;  // 1 / sqrt(1 - beta2^t)
  float decay;         // learning rate * lambda
};

/// What one launch takes by value; a kernel's parameters may have 4096 bytes.
constexpr int kMostSegments = 96;
struct Batch {
  Folded segments[kMostSegments];  // ascending
  int count;
  float beta1, rest1, beta2, rest2, eps;
};

struct Pointers {
  float* weights;
  float* first_moment;
  float* second_moment;
  device::Bf16* compute;  // or null
  const float* gradients;
  const float* scale;
};

/// The last segment that begins at or before `i`, or -1.
__device__ int find_segment(const Batch& batch, std::int64_t i) {
  int low = -1;
  int high = batch.count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (batch.segments[middle].begin <= i) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

template <int kCount>
__device__ void update(const Pointers& at, const Batch& batch, const Folded& segment, float scale,
                       std::int64_t i) {
  const auto g = device::load_values<kCount>(at.gradients + i);
  auto m = device::load_values<kCount>(at.first_moment + i);
  auto v = device::load_values<kCount>(at.second_moment + i);
  auto w = device::load_values<kCount>(at.weights + i);
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    const float scaled = g[j] * scale;
    m[j] = batch.beta1 * m[j] + batch.rest1 * scaled;
    v[j] = batch.beta2 * v[j] + batch.rest2 * scaled * scaled;
    const float root = sqrtf(v[j]) * segment.inverse_root + batch.eps;
    w[j] = w[j] - segment.decay * w[j] - segment.step * m[j] / root;
  }
  device::store_values<kCount>(at.first_moment + i, m);
  device::store_values<kCount>(at.second_moment + i, v);
  device::store_values<kCount>(at.weights + i, w);
  if (at.compute != nullptr) device::store_values<kCount>(at.compute + i, w);
}

/// Four elements from `first` on to a thread; at the ends of segments one by one.
__global__ void adamw_kernel(const __grid_constant__ Pointers at,
                             const __grid_constant__ Batch batch, std::int64_t first) {
  const float scale = *at.scale;
  if (!(fabsf(scale) <= 3.402823466e38F)) return;  // not finite
  const std::int64_t i = first + 4 * global_thread();
  const int segment = find_segment(batch, i);
  if (segment >= 0 && i + 4 <= batch.segments[segment].end) {
    update<4>(at, batch, batch.segments[segment], scale, i);
    return;
  }
  for (std::int64_t one = i; one < i + 4; ++one) {
    const int own = find_segment(batch, one);
    if (own >= 0 && one < batch.segments[own].end) {
      update<1>(at, batch, batch.segments[own], scale, one);
    }
  }
}

}  // namespace

void adamw(Stream& stream, const AdamwArrays& arrays, const ConstTensor& gradient_scale,
           std::span<const AdamwSegment> segments, const AdamwConstants& constants) {
  dispatch(arrays.weights.dtype(), "adamw", [](auto) {});
  const Pointers at{arrays.weights.data<float>(),
                    arrays.first_moment.data<float>(),
                    arrays.second_moment.data<float>(),
                    arrays.compute.empty() ? nullptr : arrays.compute.data<device::Bf16>(),
                    arrays.gradients.data<float>(),
                    gradient_scale.data<float>()};
  require(device::is_aligned(at.weights) && device::is_aligned(at.first_moment) &&
              device::is_aligned(at.second_moment) && device::is_aligned(at.compute) &&
              device::is_aligned(at.gradients),
          "adamw: arrays must begin at multiples of 16 bytes");
  for (std::size_t done = 0; done < segments.size(); done += kMostSegments) {
    const auto some =
        segments.subspan(done, std::min<std::size_t>(kMostSegments, segments.size() - done));
    Batch batch{};
    batch.count = static_cast<int>(some.size());
    batch.beta1 = static_cast<float>(constants.beta1);
    batch.rest1 = static_cast<float>(1.0 - constants.beta1);
    batch.beta2 = static_cast<float>(constants.beta2);
    batch.rest2 = static_cast<float>(1.0 - constants.beta2);
    batch.eps = static_cast<float>(constants.eps);
    for (std::size_t i = 0; i < some.size(); ++i) {
      const AdamwSegment& segment = some[i];
      require(i == 0 || some[i - 1].end <= segment.begin, "adamw: segments must ascend");
      batch.segments[i] = {segment.begin, segment.end,
                           static_cast<float>(constants.learning_rate / segment.bias_correction1),
                           static_cast<float>(1.0 / std::sqrt(segment.bias_correction2)),
                           static_cast<float>(constants.learning_rate * segment.weight_decay)};
    }
    const std::int64_t first = some.front().begin / 4 * 4;
    const std::int64_t groups = base::div_up(some.back().end - first, 4);
    device::launch_kernel<adamw_kernel>(
        stream, {.grid = device::blocks_for(groups, kElementThreads), .block = kElementThreads}, at,
        batch, first);
  }
}

}  // namespace ssmax::kernels::cuda
