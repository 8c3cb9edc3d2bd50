#pragma once

#include <string>

#include "base/errors.h"
#include "device/kernel_launch.cuh"
#include "device/warp.cuh"
#include "device/workspace_cuda.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/head_sums_cuda.cuh"
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

  /// Behind the last row of the document that row t belongs to, in O(log of its rows).
  __device__ int document_end(int b, int t) const {
    const std::int32_t* const first = first_key + static_cast<std::int64_t>(b) * time;
    const auto is_inside = [&](int row) { return row < time && first[row] == first[t]; };
    int inside = t;
    int step = 1;
    for (; is_inside(inside + step); step *= 2) inside += step;
    for (step /= 2; step > 0; step /= 2) {
      if (is_inside(inside + step)) inside += step;
    }
    return inside + 1;
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

/// u dc or dc of a row: what ds_h and db_h sum.
template <class Length, bool kOfScale>
struct RowGradient {
  const float* dc;
  DeviceLengths lengths;
  DeviceRowScale<Length> scale;

  __device__ double operator()(int b, int /*h*/, int t, std::int64_t row) const {
    const double gradient = dc[row];
    if constexpr (kOfScale) return scale.length(lengths(b, t)) * gradient;
    return gradient;
  }
};

/// s_h dc of row (b, h) of `dc`, at time t: without documents that is the row of first_position +
/// t + 1 keys.
template <class Length>
struct LengthGradient {
  const float* dc;
  int heads;
  int time;
  DeviceRowScale<Length> scale;

  __device__ device::Values<1> operator()(std::int64_t row, std::int64_t t) const {
    const auto h = static_cast<int>(row % heads);
    return {{static_cast<float>(scale.factor(h) * static_cast<double>(dc[row * time + t]))}};
  }
};

/// The sum of s_h dc over the rows of sequence b that see n = column + 1 keys, of which a document
/// has one at most.
template <class Length>
struct DocumentLengthGradient {
  const float* dc;
  int heads;
  DeviceLengths lengths;
  DeviceRowScale<Length> scale;

  __device__ device::Values<1> operator()(std::int64_t b, std::int64_t column) const {
    const auto sequence = static_cast<int>(b);
    double sum = 0;
    for (int begin = 0, end = 0; begin < lengths.time; begin = end) {
      end = lengths.document_end(sequence, begin);
      const std::int64_t t = begin + column + 1 - lengths(sequence, begin);
      if (t < begin || t >= end) continue;
      for (int h = 0; h < heads; ++h) {
        sum += scale.factor(h) * static_cast<double>(dc[(b * heads + h) * lengths.time + t]);
      }
    }
    return {{static_cast<float>(sum)}};
  }
};

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
    float* dp = gradients[next].template data<float>();
    if (device_lengths.first_key == nullptr) {
      add_column_sums<1>(
          stream, dp + lengths.first_position,
          LengthGradient<Length>{dc.data<float>(), heads, device_lengths.time, values},
          lengths.batch * heads, lengths.time);
    } else {
      add_column_sums<1>(
          stream, dp,
          DocumentLengthGradient<Length>{dc.data<float>(), heads, device_lengths, values},
          lengths.batch, values.table_size);
    }
  }
  if (ds == nullptr && db == nullptr) return;
  const HeadRows rows{device_lengths.batch, heads, device_lengths.time};
  auto* partials = static_cast<float*>(
      device::cuda::workspace(stream, rows.partials() * static_cast<std::int64_t>(sizeof(float))));
  if (ds != nullptr) {
    const RowGradient<Length, true> term{dc.data<float>(), device_lengths, values};
    add_head_sums(stream, ds, term, rows, partials);
  }
  if (db != nullptr) {
    const RowGradient<Length, false> term{dc.data<float>(), device_lengths, values};
    add_head_sums(stream, db, term, rows, partials);
  }
}

/// `template struct RowScaleOf<Length>;` in a .cu is the CUDA side of a length.
template <class Length>
struct RowScaleOf {
  static constexpr auto kForward = &row_scale<Length>;
  static constexpr auto kBackward = &row_scale_backward<Length>;
};

}  // namespace ssmax::kernels::cuda
