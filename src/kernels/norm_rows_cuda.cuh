#pragma once

#include "device/warp.cuh"
#include "kernels/column_sums_cuda.cuh"
#include "kernels/norm_forward.h"

/// The norms of rows on a GPU, in fp32, over the statistic: layer_norm takes the mean off first,
/// rms_norm does not. A warp to a row, which stays in the cache between its passes. M rows, C
/// channels.
namespace ssmax::kernels::cuda {

template <class T>
struct NormBackward {
  T* dx;        ///< (M, C)
  const T* dy;  ///< (M, C)
  const T* x;   ///< (M, C)
  const T* weight;
  const float* mean;  ///< null without a center
  const float* rstd;
  std::int64_t M, C;
};

inline constexpr int kRowsOfBlock = 8;

/// The row of the calling warp.
__device__ inline std::int64_t warp_row() {
  return static_cast<std::int64_t>(blockIdx.x) * kRowsOfBlock + device::warp_id();
}

template <Center kCenter, int kCount, class T>
__global__ void __launch_bounds__(kRowsOfBlock* device::kWarpSize)
    norm_forward_kernel(const __grid_constant__ NormForward<T> n) {
  using device::load_values;
  constexpr std::int64_t kStride = device::kWarpSize * kCount;
  const std::int64_t m = warp_row();
  if (m >= n.M) return;
  const std::int64_t first = device::lane_id() * kCount;
  const T* row = (n.delta == nullptr ? n.x : n.sum) + m * n.C;
  float total = 0.0F;
  for (std::int64_t c = first; c < n.C; c += kStride) {
    auto v = load_values<kCount>(n.x + m * n.C + c);
    if (n.delta != nullptr) {
      // Rounded to T before it is used, so that forward and backward see the same x.
      const auto d = load_values<kCount>(n.delta + m * n.C + c);
#pragma unroll
      for (int j = 0; j < kCount; ++j) v[j] = device::rounded<T>(v[j] + d[j]);
      device::store_values<kCount>(n.sum + m * n.C + c, v);
    }
#pragma unroll
    for (int j = 0; j < kCount; ++j) total += kCenter == Center::mean ? v[j] : v[j] * v[j];
  }
  const auto count = static_cast<float>(n.C);
  total = device::warp_sum(total);
  float mean = 0.0F;
  if constexpr (kCenter == Center::mean) {
    mean = total / count;
    total = 0.0F;
    for (std::int64_t c = first; c < n.C; c += kStride) {
      const auto v = load_values<kCount>(row + c);
#pragma unroll
      for (int j = 0; j < kCount; ++j) total += (v[j] - mean) * (v[j] - mean);
    }
    total = device::warp_sum(total);
  }
  const float rstd = 1.0F / sqrtf(total / count + n.eps);
  if (device::lane_id() == 0) {
    n.rstd[m] = rstd;
    if constexpr (kCenter == Center::mean) n.mean[m] = mean;
  }
  for (std::int64_t c = first; c < n.C; c += kStride) {
    auto v = load_values<kCount>(row + c);
    const auto w = load_values<kCount>(n.weight + c);
#pragma unroll
    for (int j = 0; j < kCount; ++j) v[j] = (v[j] - mean) * rstd * w[j];
    if (n.bias != nullptr) {
      const auto b = load_values<kCount>(n.bias + c);
#pragma unroll
      for (int j = 0; j < kCount; ++j) v[j] += b[j];
    }
    device::store_values<kCount>(n.y + m * n.C + c, v);
  }
}

/// Blocks of a multiprocessor that the backward's registers must leave room for: at most 80 a
/// thread. The compiler spills where it aims at five by itself, or must at four.
inline constexpr int kBackwardBlocks = 3;

/// A lane's kCount columns of a row in shared memory, of a stride of the warp that begins at `row`
/// and has `columns`. In groups of four, first those of all lanes that come first: neighbors'
/// accesses of 16 bytes lie side by side, where whole lanes would meet in the same banks.
template <int kCount>
struct SpreadColumns {
  static constexpr int kGroup = kCount == 1 ? 1 : 4;
  static constexpr int kGroups = kCount / kGroup;

  __device__ static std::int64_t place(std::int64_t columns, int lane, int j) {
    return j / kGroup * (columns / kGroups) + lane * kGroup + j % kGroup;
  }
  __device__ static device::Values<kCount> load(const float* row, std::int64_t columns) {
    device::Values<kCount> values;
#pragma unroll
    for (int j = 0; j < kCount; j += kGroup) {
      const auto group = device::load_values<kGroup>(row + place(columns, device::lane_id(), j));
#pragma unroll
      for (int i = 0; i < kGroup; ++i) values[j + i] = group[i];
    }
    return values;
  }
  __device__ static void store(float* row, std::int64_t columns,
                               const device::Values<kCount>& values) {
#pragma unroll
    for (int j = 0; j < kCount; j += kGroup) {
      device::Values<kGroup> group;
#pragma unroll
      for (int i = 0; i < kGroup; ++i) group[i] = values[j + i];
      device::store_values<kGroup>(row + place(columns, device::lane_id(), j), group);
    }
  }
};

/// What the rows of a chunk add to dweight and dbias.
struct ColumnPartials {
  float* weight;  ///< (chunks, C)
  float* bias;    ///< (chunks, C), null: none
  std::int64_t chunk_rows;
};

/// With h = (x - mean) rstd and g = dy w: dx = rstd (g - mean(g) - h mean(g h)), without mean(g)
/// where the center is 0; dweight is the sum of dy h and dbias that of dy. A block to a chunk,
/// whose rows its warps take in turn; every warp has sums of its own in shared memory, a lane the
/// columns that it reads, and in the end they are added in the order of the warps. So dy and x are
/// read once.
template <Center kCenter, int kCount, Write kWrite, class T>
__global__ void __launch_bounds__(kRowsOfBlock* device::kWarpSize, kBackwardBlocks)
    norm_backward_kernel(const __grid_constant__ NormBackward<T> n, const ColumnPartials partials) {
  using device::load_values;
  using device::store_values;
  constexpr std::int64_t kStride = device::kWarpSize * kCount;
  const std::int64_t warps = device::warp_count();
  const bool with_bias = partials.bias != nullptr;
  auto* sums = device::dynamic_shared<float>();  // (warps, C), and as much for the bias
  float* weight_sums = sums + device::warp_id() * n.C;
  float* bias_sums = weight_sums + warps * n.C;
  using Spread = SpreadColumns<kCount>;
  const std::int64_t first = device::lane_id() * kCount;
  // Columns of the stride that c is in.
  const auto columns = [&](std::int64_t c) {
    const std::int64_t rest = n.C - (c - first);
    return rest < kStride ? rest : kStride;
  };
  for (std::int64_t c = first; c < n.C; c += kStride) {
    Spread::store(weight_sums + (c - first), columns(c), {});
    if (with_bias) Spread::store(bias_sums + (c - first), columns(c), {});
  }
  const std::int64_t begin = blockIdx.x * partials.chunk_rows;
  const std::int64_t end = begin + partials.chunk_rows < n.M ? begin + partials.chunk_rows : n.M;
  const auto count = static_cast<float>(n.C);
  for (std::int64_t m = begin + device::warp_id(); m < end; m += warps) {
    const float mean = kCenter == Center::mean ? n.mean[m] : 0.0F;
    const float rstd = n.rstd[m];
    float sum = 0.0F;
    float dot = 0.0F;
    for (std::int64_t c = first; c < n.C; c += kStride) {
      const auto g = load_values<kCount>(n.dy + m * n.C + c);
      const auto v = load_values<kCount>(n.x + m * n.C + c);
      const auto w = load_values<kCount>(n.weight + c);
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        sum += g[j] * w[j];
        dot += g[j] * w[j] * (v[j] - mean);
      }
    }
    const float mean_g = kCenter == Center::mean ? device::warp_sum(sum) / count : 0.0F;
    const float pull = device::warp_sum(dot) * rstd * rstd / count;
    // From the cache. dx may be dy or x: both are read before it is written.
    for (std::int64_t c = first; c < n.C; c += kStride) {
      auto g = load_values<kCount>(n.dy + m * n.C + c);
      const auto v = load_values<kCount>(n.x + m * n.C + c);
      const auto w = load_values<kCount>(n.weight + c);
      auto weight_sum = Spread::load(weight_sums + (c - first), columns(c));
#pragma unroll
      for (int j = 0; j < kCount; ++j) weight_sum[j] += g[j] * ((v[j] - mean) * rstd);
      Spread::store(weight_sums + (c - first), columns(c), weight_sum);
      if (with_bias) {
        auto bias_sum = Spread::load(bias_sums + (c - first), columns(c));
#pragma unroll
        for (int j = 0; j < kCount; ++j) bias_sum[j] += g[j];
        Spread::store(bias_sums + (c - first), columns(c), bias_sum);
      }
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        g[j] = (g[j] * w[j] - mean_g - (v[j] - mean) * pull) * rstd;
      }
      if constexpr (kWrite == Write::add) {
        const auto before = load_values<kCount>(n.dx + m * n.C + c);
#pragma unroll
        for (int j = 0; j < kCount; ++j) g[j] += before[j];
      }
      store_values<kCount>(n.dx + m * n.C + c, g);
    }
  }
  __syncthreads();
  for (std::int64_t c = threadIdx.x; c < n.C; c += blockDim.x) {
    const std::int64_t stride = c / kStride * kStride;
    const auto within = static_cast<int>(c - stride);
    const std::int64_t wide = n.C - stride < kStride ? n.C - stride : kStride;
    const std::int64_t place = stride + Spread::place(wide, within / kCount, within % kCount);
    float weight_sum = 0.0F;
    float bias_sum = 0.0F;
    for (std::int64_t warp = 0; warp < warps; ++warp) {
      weight_sum += sums[warp * n.C + place];
      if (with_bias) bias_sum += sums[(warps + warp) * n.C + place];
    }
    partials.weight[blockIdx.x * n.C + c] = weight_sum;
    if (with_bias) partials.bias[blockIdx.x * n.C + c] = bias_sum;
  }
}

inline dim3 row_blocks(std::int64_t rows) { return device::blocks_for(rows, kRowsOfBlock); }

template <Center kCenter, class T>
void norm_forward(Stream& stream, const NormForward<T>& n) {
  dispatch_width<device::kPackSize<T>>(
      {n.sum, n.y, n.x, n.delta, n.weight, n.bias}, n.C, [&](auto width) {
        constexpr int kCount = decltype(width)::value;
        device::launch_kernel<norm_forward_kernel<kCenter, kCount, T>>(
            stream, {.grid = row_blocks(n.M), .block = kRowsOfBlock * device::kWarpSize}, n);
      });
}

/// Shared memory that every GPU from compute capability 8.0 on gives a block.
inline constexpr std::int64_t kMostSharedBytes = std::int64_t{96} << 10;

/// dweight (C) and dbias (C, or null) are added to. Takes the stream's workspace.
template <Center kCenter, class T>
void norm_backward(Stream& stream, float* dweight, float* dbias, const NormBackward<T>& n,
                   Write write) {
  constexpr auto kFloat = static_cast<std::int64_t>(sizeof(float));
  const std::int64_t sums = dbias == nullptr ? 1 : 2;
  const std::int64_t warps =
      std::min<std::int64_t>(kRowsOfBlock, kMostSharedBytes / (sums * n.C * kFloat));
  require(warps > 0,
          "norm on a GPU: expected rows of at most 24,576 elements, 12,288 with a bias; take a "
          "smaller model.hidden_size or training.device=cpu");
  const ColumnChunks chunks(n.M);
  const std::int64_t partial_floats = chunks.count * n.C;
  auto* memory =
      static_cast<float*>(device::cuda::workspace(stream, sums * partial_floats * kFloat));
  const ColumnPartials partials{memory, dbias == nullptr ? nullptr : memory + partial_floats,
                                chunks.size};
  const device::LaunchShape shape{.grid = device::blocks_for(chunks.count, 1),
                                  .block = static_cast<unsigned>(warps * device::kWarpSize),
                                  .shared_bytes = warps * sums * n.C * kFloat};
  dispatch_width<device::kPackSize<T>>({n.dx, n.dy, n.x, n.weight}, n.C, [&](auto width) {
    constexpr int kCount = decltype(width)::value;
    if (write == Write::add) {
      device::launch_kernel<norm_backward_kernel<kCenter, kCount, Write::add, T>>(stream, shape, n,
                                                                                  partials);
    } else {
      device::launch_kernel<norm_backward_kernel<kCenter, kCount, Write::overwrite, T>>(
          stream, shape, n, partials);
    }
  });
  add_chunks(stream, dweight, partials.weight, chunks.count, n.C);
  if (dbias != nullptr) add_chunks(stream, dbias, partials.bias, chunks.count, n.C);
}

}  // namespace ssmax::kernels::cuda
