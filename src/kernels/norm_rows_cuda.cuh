#pragma once

#include "device/warp.cuh"
#include "kernels/column_sums_cuda.cuh"

/// The norms of rows on a GPU, in fp32, over the statistic: layer_norm takes the mean off first,
/// rms_norm does not. A warp to a row, which stays in the cache between its passes. M rows, C
/// channels.
namespace ssmax::kernels::cuda {

enum class Center : std::uint8_t { none, mean };

template <class T>
struct NormForward {
  T* sum;          ///< (M, C) x + delta; null without a delta; may be x
  T* y;            ///< (M, C)
  float* mean;     ///< (M); null without a center
  float* rstd;     ///< (M)
  const T* x;      ///< (M, C)
  const T* delta;  ///< (M, C) or null
  const T* weight;
  const T* bias;  ///< null: none
  std::int64_t M, C;
  float eps;
};

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

/// With h = (x - mean) rstd and g = dy w: dx = rstd (g - mean(g) - h mean(g h)), without mean(g)
/// where the center is 0.
template <Center kCenter, int kCount, Write kWrite, class T>
__global__ void __launch_bounds__(kRowsOfBlock* device::kWarpSize)
    norm_backward_kernel(const __grid_constant__ NormBackward<T> n) {
  using device::load_values;
  constexpr std::int64_t kStride = device::kWarpSize * kCount;
  const std::int64_t m = warp_row();
  if (m >= n.M) return;
  const std::int64_t first = device::lane_id() * kCount;
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
  const auto count = static_cast<float>(n.C);
  const float mean_g = kCenter == Center::mean ? device::warp_sum(sum) / count : 0.0F;
  const float pull = device::warp_sum(dot) * rstd * rstd / count;
  for (std::int64_t c = first; c < n.C; c += kStride) {
    auto g = load_values<kCount>(n.dy + m * n.C + c);
    const auto v = load_values<kCount>(n.x + m * n.C + c);
    const auto w = load_values<kCount>(n.weight + c);
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      g[j] = (g[j] * w[j] - mean_g - (v[j] - mean) * pull) * rstd;
    }
    if constexpr (kWrite == Write::add) {
      const auto before = load_values<kCount>(n.dx + m * n.C + c);
#pragma unroll
      for (int j = 0; j < kCount; ++j) g[j] += before[j];
    }
    device::store_values<kCount>(n.dx + m * n.C + c, g);
  }
}

/// What one element adds to dweight: dy h.
template <Center kCenter, int kCount, class T>
struct WeightTerm {
  NormBackward<T> n;

  __device__ device::Values<kCount> operator()(std::int64_t m, std::int64_t c) const {
    auto g = device::load_values<kCount>(n.dy + m * n.C + c);
    const auto v = device::load_values<kCount>(n.x + m * n.C + c);
    const float mean = kCenter == Center::mean ? n.mean[m] : 0.0F;
    const float rstd = n.rstd[m];
#pragma unroll
    for (int j = 0; j < kCount; ++j) g[j] *= (v[j] - mean) * rstd;
    return g;
  }
};

/// What one element adds to dbias: itself.
template <int kCount, class T>
struct ElementTerm {
  const T* x;
  std::int64_t C;

  __device__ device::Values<kCount> operator()(std::int64_t m, std::int64_t c) const {
    return device::load_values<kCount>(x + m * C + c);
  }
};

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

/// dweight (C) and dbias (C, or null) are added to.
template <Center kCenter, class T>
void norm_backward(Stream& stream, float* dweight, float* dbias, const NormBackward<T>& n,
                   Write write) {
  dispatch_width<device::kPackSize<T>>({n.dx, n.dy, n.x, n.weight}, n.C, [&](auto width) {
    constexpr int kCount = decltype(width)::value;
    // First: dx may be written over dy or x.
    add_column_sums<kCount>(stream, dweight, WeightTerm<kCenter, kCount, T>{n}, n.M, n.C);
    if (dbias != nullptr) {
      add_column_sums<kCount>(stream, dbias, ElementTerm<kCount, T>{n.dy, n.C}, n.M, n.C);
    }
    const device::LaunchShape shape{.grid = row_blocks(n.M),
                                    .block = kRowsOfBlock * device::kWarpSize};
    if (write == Write::add) {
      device::launch_kernel<norm_backward_kernel<kCenter, kCount, Write::add, T>>(stream, shape, n);
    } else {
      device::launch_kernel<norm_backward_kernel<kCenter, kCount, Write::overwrite, T>>(stream,
                                                                                        shape, n);
    }
  });
}

}  // namespace ssmax::kernels::cuda
