#pragma once

#include <string>

#include "base/errors.h"
#include "device/kernel_launch.cuh"
#include "device/warp.cuh"
#include "device/workspace_cuda.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/row_scale_op.h"

/// The row scale on a GPU: f32 parameters, arithmetic in double. Include it where a length is
/// instantiated.
namespace ssmax::kernels::cuda {

inline constexpr int kScaleThreads = 256;

/// The row scale's parameters for kernels; null for constants.
template <class Length>
struct DeviceRowScale {
  RowScale<Length> scale;
  const float* s = nullptr;
  const float* b = nullptr;
  const float* table = nullptr;
  std::int64_t table_size = 0;
  const LogFit* fit = nullptr;

  DeviceRowScale(std::span<const ConstTensor> parameters, const RowScale<Length>& row_scale)
      : scale(row_scale) {
    std::size_t next = 0;
    if (scale.learn_scale) s = parameters[next++].data<float>();
    if (scale.bias) b = parameters[next++].data<float>();
    if constexpr (!LengthFunction<Length>) {
      table = parameters[next].data<float>();
      table_size = parameters[next].elements();
    }
  }

  __device__ double length(std::int64_t n) const {
    if constexpr (LengthFunction<Length>) {
      return scale.length(n);
    } else {
      return n <= table_size ? static_cast<double>(table[n - 1])
                             : fit->slope * std::log(static_cast<double>(n)) + fit->offset;
    }
  }
  __device__ double factor(int h) const {
    return s == nullptr ? scale.initial_scale : static_cast<double>(s[h]);
  }
  __device__ double bias(int h) const { return b == nullptr ? 0.0 : static_cast<double>(b[h]); }
};

/// RowLengths for kernels.
struct DeviceLengths {
  const std::int32_t* first_key;
  int batch;
  int time;
  std::int64_t first_position;

  explicit DeviceLengths(const RowLengths& lengths)
      : first_key(lengths.first_key.empty() ? nullptr : lengths.first_key.data<std::int32_t>()),
        batch(static_cast<int>(lengths.batch)),
        time(static_cast<int>(lengths.time)),
        first_position(lengths.first_position) {}

  __device__ std::int64_t operator()(int b, int t) const {
    const std::int64_t first =
        first_key == nullptr ? 0 : first_key[static_cast<std::int64_t>(b) * time + t];
    return first_position + t + 1 - first;
  }
};

/// fit_logarithm of a table in device memory. One block.
template <class Length>
__global__ void __launch_bounds__(kScaleThreads)
    fit_logarithm_kernel(LogFit* fit, const float* table, const std::int64_t size) {
  const auto mean_of = [&](const auto& value) {
    double sum = 0;
    for (std::int64_t i = threadIdx.x; i < size; i += kScaleThreads) sum += value(i);
    return device::block_sum(sum) / static_cast<double>(size);
  };
  const auto log_at = [](std::int64_t i) { return std::log(static_cast<double>(i + 1)); };
  const double mean_log = mean_of(log_at);
  const double mean = mean_of([&](std::int64_t i) { return static_cast<double>(table[i]); });
  const double covariance = mean_of([&](std::int64_t i) {
    return (log_at(i) - mean_log) * (static_cast<double>(table[i]) - mean);
  });
  const double variance = mean_of([&](std::int64_t i) {
    const double centered = log_at(i) - mean_log;
    return centered * centered;
  });
  if (threadIdx.x == 0) {
    fit->slope = variance > 0 ? covariance / variance : 0.0;
    fit->offset = mean - fit->slope * mean_log;
  }
}

template <class Length>
__global__ void __launch_bounds__(kScaleThreads)
    row_scale_kernel(float* c, const int heads, const DeviceLengths lengths,
                     const DeviceRowScale<Length> scale) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kScaleThreads + threadIdx.x;
  if (i >= static_cast<std::int64_t>(lengths.batch) * heads * lengths.time) return;
  const auto t = static_cast<int>(i % lengths.time);
  const std::int64_t head = i / lengths.time;
  const auto h = static_cast<int>(head % heads);
  const double u = scale.length(lengths(static_cast<int>(head / heads), t));
  c[i] = static_cast<float>(scale.factor(h) * u + scale.bias(h));
}

/// ds_h += sum u dc and db_h += sum dc over the rows of a head. One block a head.
template <class Length>
__global__ void __launch_bounds__(kScaleThreads)
    row_scale_gradient_kernel(float* ds, float* db, const float* dc, const int heads,
                              const DeviceLengths lengths, const DeviceRowScale<Length> scale) {
  const auto h = static_cast<int>(blockIdx.x);
  double scale_sum = 0;
  double bias_sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < lengths.batch * lengths.time;
       i += kScaleThreads) {
    const int b = i / lengths.time;
    const int t = i % lengths.time;
    const double gradient = dc[(static_cast<std::int64_t>(b) * heads + h) * lengths.time + t];
    if (ds != nullptr) scale_sum += scale.length(lengths(b, t)) * gradient;
    bias_sum += gradient;
  }
  scale_sum = device::block_sum(scale_sum);
  bias_sum = device::block_sum(bias_sum);
  if (threadIdx.x != 0) return;
  if (ds != nullptr) ds[h] += static_cast<float>(scale_sum);
  if (db != nullptr) db[h] += static_cast<float>(bias_sum);
}

/// dp_n += sum of s_h dc over the rows of n keys. One thread for each n: it looks at every row's
/// length, which is little beside attention.
template <class Length>
__global__ void __launch_bounds__(kScaleThreads)
    length_gradient_kernel(float* dp, const float* dc, const int heads, const DeviceLengths lengths,
                           const DeviceRowScale<Length> scale) {
  const std::int64_t n = static_cast<std::int64_t>(blockIdx.x) * kScaleThreads + threadIdx.x + 1;
  if (n > scale.table_size) return;
  double sum = 0;
  for (int b = 0; b < lengths.batch; ++b) {
    const auto add_row = [&](int t) {
      for (int h = 0; h < heads; ++h) {
        sum +=
            scale.factor(h) *
            static_cast<double>(dc[(static_cast<std::int64_t>(b) * heads + h) * lengths.time + t]);
      }
    };
    if (lengths.first_key == nullptr) {
      const std::int64_t t = n - 1 - lengths.first_position;
      if (t >= 0 && t < lengths.time) add_row(static_cast<int>(t));
    } else {
      for (int t = 0; t < lengths.time; ++t) {
        if (lengths(b, t) == n) add_row(t);
      }
    }
  }
  dp[n - 1] += static_cast<float>(sum);
}

template <class Length>
void row_scale(Stream& stream, const Tensor& c, std::span<const ConstTensor> parameters,
               const RowLengths& lengths, const RowScale<Length>& scale) {
  DeviceRowScale<Length> values(parameters, scale);
  if constexpr (!LengthFunction<Length>) {
    if (lengths.first_position + lengths.time > values.table_size) {
      auto* fit = static_cast<LogFit*>(device::cuda::workspace(stream, sizeof(LogFit)));
      device::launch_kernel<fit_logarithm_kernel<Length>>(
          stream, {.grid = dim3(1), .block = dim3(kScaleThreads)}, fit, values.table,
          values.table_size);
      values.fit = fit;
    }
  }
  device::launch_kernel<row_scale_kernel<Length>>(
      stream,
      {.grid = device::blocks_for(c.elements(), kScaleThreads), .block = dim3(kScaleThreads)},
      c.data<float>(), static_cast<int>(c.extent(1)), DeviceLengths(lengths), values);
}

template <class Length>
void row_scale_backward(Stream& stream, std::span<const Tensor> gradients, const ConstTensor& dc,
                        std::span<const ConstTensor> parameters, const RowLengths& lengths,
                        const RowScale<Length>& scale) {
  if (gradients.empty()) return;
  const DeviceRowScale<Length> values(parameters, scale);
  const auto heads = static_cast<int>(dc.extent(1));
  const DeviceLengths device_lengths(lengths);
  std::size_t next = 0;
  float* ds = scale.learn_scale ? gradients[next++].template data<float>() : nullptr;
  float* db = scale.bias ? gradients[next++].template data<float>() : nullptr;
  if constexpr (!LengthFunction<Length>) {
    // The lengths of documents are not known here: the longest that a row can be counts.
    const std::int64_t longest = lengths.first_position + lengths.time;
    if (longest > values.table_size) {
      throw base::Error(base::ErrorKind::usage,
                        "learned_length: a row of " + std::to_string(longest) +
                            " keys is longer than the table of " +
                            std::to_string(values.table_size) +
                            "; train at most at the length that the table was made for");
    }
    device::launch_kernel<length_gradient_kernel<Length>>(
        stream,
        {.grid = device::blocks_for(values.table_size, kScaleThreads),
         .block = dim3(kScaleThreads)},
        gradients[next].template data<float>(), dc.data<float>(), heads, device_lengths, values);
  }
  if (ds == nullptr && db == nullptr) return;
  device::launch_kernel<row_scale_gradient_kernel<Length>>(
      stream, {.grid = dim3(static_cast<unsigned>(heads)), .block = dim3(kScaleThreads)}, ds, db,
      dc.data<float>(), heads, device_lengths, values);
}

/// `template struct RowScaleOf<Length>;` in a .cu is the CUDA side of a length.
template <class Length>
struct RowScaleOf {
  static constexpr auto kForward = &row_scale<Length>;
  static constexpr auto kBackward = &row_scale_backward<Length>;
};

}  // namespace ssmax::kernels::cuda
