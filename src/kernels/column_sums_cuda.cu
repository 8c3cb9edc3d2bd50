#include "device/shared_memory.cuh"
#include "device/warp.cuh"
#include "kernels/column_sums_cuda.cuh"

namespace ssmax::kernels::cuda {

namespace {

constexpr int kColumnGroups = 8;
constexpr int kColumnsOfBlock = device::kWarpSize;

struct ColumnGroupSums {
  float at[kColumnGroups][kColumnsOfBlock];
};

/// Eight groups of chunks side by side, a warp each; then the groups in their order.
__global__ void add_chunks_kernel(float* target, const float* partials, std::int64_t chunks,
                                  std::int64_t width) {
  const int group = device::warp_id();
  const int lane = device::lane_id();
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * kColumnsOfBlock + lane;
  const std::int64_t size = (chunks + kColumnGroups - 1) / kColumnGroups;
  const std::int64_t begin = group * size;
  const std::int64_t end = begin + size < chunks ? begin + size : chunks;
  float sum = 0.0F;
  if (column < width) {
    for (std::int64_t chunk = begin; chunk < end; ++chunk) sum += partials[chunk * width + column];
  }
  auto& sums = device::static_shared<ColumnGroupSums>();
  sums.at[group][lane] = sum;
  __syncthreads();
  if (group != 0 || column >= width) return;
  sum = sums.at[0][lane];
#pragma unroll
  for (int other = 1; other < kColumnGroups; ++other) sum += sums.at[other][lane];
  target[column] += sum;
}

}  // namespace

void add_chunks(Stream& stream, float* target, const float* partials, std::int64_t chunks,
                std::int64_t width) {
  device::launch_kernel<add_chunks_kernel>(stream,
                                           {.grid = device::blocks_for(width, kColumnsOfBlock),
                                            .block = kColumnGroups * kColumnsOfBlock},
                                           target, partials, chunks, width);
}

}  // namespace ssmax::kernels::cuda
