#include "kernels/layer_norm/layer_norm_cpu.h"

#include <algorithm>
#include <type_traits>

#include "kernels/elements.h"
#include "kernels/layer_norm/layer_norm_launch.h"
#include "kernels/rows.h"
#include "kernels/workspace.h"

namespace ssmax::kernels::cpu {

namespace {

template <class T>
float sum_of(const T* x, std::int64_t C) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t c = 0; c < C; ++c) sum += load(x[c]);
  return sum;
}

// The sum is rounded to T first, so that forward and backward see the same x.
template <class T>
float add_row(T* sum, const T* x, const T* delta, std::int64_t C) {
  float total = 0.0F;
#pragma omp simd reduction(+ : total)
  for (std::int64_t c = 0; c < C; ++c) {
    store(sum[c], load(x[c]) + load(delta[c]));
    total += load(sum[c]);
  }
  return total;
}

template <class T>
float rstd_of(const T* x, float mean, std::int64_t C, double eps) {
  float squares = 0.0F;
#pragma omp simd reduction(+ : squares)
  for (std::int64_t c = 0; c < C; ++c) {
    const float centered = load(x[c]) - mean;
    squares += centered * centered;
  }
  return 1.0F / std::sqrt(squares / static_cast<float>(C) + static_cast<float>(eps));
}

template <class T>
void normalize_row(T* y, const T* x, const T* weight, const T* bias, float mean, float rstd,
                   std::int64_t C) {
  if (bias == nullptr) {
#pragma omp simd
    for (std::int64_t c = 0; c < C; ++c) {
      const float h = (load(x[c]) - mean) * rstd;
      store(y[c], h * load(weight[c]));
    }
    return;
  }
#pragma omp simd
  for (std::int64_t c = 0; c < C; ++c) {
    const float h = (load(x[c]) - mean) * rstd;
    store(y[c], h * load(weight[c]) + load(bias[c]));
  }
}

// dbias is always summed: one add beside five multiplications, and one loop instead of two.
template <class T, Write kWrite>
void backward_row(T* dx, float* dweight, float* dbias, const T* dy, const T* x, const T* weight,
                  float mean, float rstd, std::int64_t C) {
  float sum = 0.0F;
  float dot = 0.0F;
#pragma omp simd reduction(+ : sum, dot)
  for (std::int64_t c = 0; c < C; ++c) {
    const float g = load(dy[c]) * load(weight[c]);
    sum += g;
    dot += g * (load(x[c]) - mean);
  }
  const float mean_g = sum / static_cast<float>(C);
  const float mean_gh = dot * rstd / static_cast<float>(C);
#pragma omp simd
  for (std::int64_t c = 0; c < C; ++c) {
    const float g = load(dy[c]);
    const float h = (load(x[c]) - mean) * rstd;
    dweight[c] += g * h;
    dbias[c] += g;
    float value = rstd * (g * load(weight[c]) - mean_g - h * mean_gh);
    if constexpr (kWrite == Write::add) value += load(dx[c]);
    store(dx[c], value);
  }
}

template <class T, Write kWrite>
void backward(T* dx, float* dweight, float* dbias, const T* dy, const T* x, const T* weight,
              const float* mean, const float* rstd, std::int64_t M, std::int64_t C) {
  const RowChunks chunks(M);
  float* weight_partials = workspace<float>(2 * chunks.count * C);
  float* bias_partials = weight_partials + chunks.count * C;
  device::parallel_for(M, chunks.size, [&](std::int64_t begin, std::int64_t end) {
    float* weight_partial = weight_partials + begin / chunks.size * C;
    float* bias_partial = bias_partials + begin / chunks.size * C;
    std::fill_n(weight_partial, C, 0.0F);
    std::fill_n(bias_partial, C, 0.0F);
    for (std::int64_t m = begin; m < end; ++m) {
      backward_row<T, kWrite>(dx + m * C, weight_partial, bias_partial, dy + m * C, x + m * C,
                              weight, mean[m], rstd[m], C);
    }
  });
  add_partials(dweight, weight_partials, chunks.count, C);
  if (dbias != nullptr) add_partials(dbias, bias_partials, chunks.count, C);
}

template <class T>
const T* data_or_null(const ConstTensor& tensor) {
  return tensor.empty() ? nullptr : tensor.data<T>();
}

}  // namespace

void layer_norm(Stream& /*stream*/, const Tensor& y, const LayerNormSaved& saved,
                const ConstTensor& x, const ConstTensor& weight, const ConstTensor& bias,
                double eps) {
  const std::int64_t M = row_count(x);
  const std::int64_t C = row_size(x);
  device::dispatch(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = device::Accumulator<T>;
    T* to = y.data<T>();
    const T* from = x.data<T>();
    const T* w = weight.data<T>();
    const T* b = data_or_null<T>(bias);
    A* mean = saved.mean.data<A>();
    A* rstd = saved.rstd.data<A>();
    if constexpr (std::is_same_v<T, double>) {
      plain::layer_norm(to, mean, rstd, from, w, b, M, C, eps);
    } else {
      device::parallel_for(M, rows_per_task(C), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t m = begin; m < end; ++m) {
          const T* row = from + m * C;
          mean[m] = sum_of(row, C) / static_cast<float>(C);
          rstd[m] = rstd_of(row, mean[m], C, eps);
          normalize_row(to + m * C, row, w, b, mean[m], rstd[m], C);
        }
      });
    }
  });
}

void add_layer_norm(Stream& /*stream*/, const Tensor& sum, const Tensor& y,
                    const LayerNormSaved& saved, const ConstTensor& x, const ConstTensor& delta,
                    const ConstTensor& weight, const ConstTensor& bias, double eps) {
  const std::int64_t M = row_count(x);
  const std::int64_t C = row_size(x);
  device::dispatch(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = device::Accumulator<T>;
    T* s = sum.data<T>();
    T* to = y.data<T>();
    const T* from = x.data<T>();
    const T* d = delta.data<T>();
    const T* w = weight.data<T>();
    const T* b = data_or_null<T>(bias);
    A* mean = saved.mean.data<A>();
    A* rstd = saved.rstd.data<A>();
    if constexpr (std::is_same_v<T, double>) {
      for (std::int64_t i = 0; i < M * C; ++i) s[i] = from[i] + d[i];
      plain::layer_norm(to, mean, rstd, s, w, b, M, C, eps);
    } else {
      device::parallel_for(M, rows_per_task(C), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t m = begin; m < end; ++m) {
          T* row = s + m * C;
          mean[m] = add_row(row, from + m * C, d + m * C, C) / static_cast<float>(C);
          rstd[m] = rstd_of(row, mean[m], C, eps);
          normalize_row(to + m * C, row, w, b, mean[m], rstd[m], C);
        }
      });
    }
  });
}

void layer_norm_backward(Stream& /*stream*/, const Tensor& dx, const Tensor& dweight,
                         const Tensor& dbias, const ConstTensor& dy, const ConstTensor& x,
                         const ConstTensor& weight, const LayerNormSaved& saved, Write write) {
  const std::int64_t M = row_count(x);
  const std::int64_t C = row_size(x);
  device::dispatch(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = device::Accumulator<T>;
    T* to = dx.data<T>();
    A* dw = dweight.data<A>();
    A* db = dbias.empty() ? nullptr : dbias.data<A>();
    const T* g = dy.data<T>();
    const T* from = x.data<T>();
    const T* w = weight.data<T>();
    const A* mean = saved.mean.data<A>();
    const A* rstd = saved.rstd.data<A>();
    if constexpr (std::is_same_v<T, double>) {
      plain::layer_norm_backward(to, dw, db, g, from, w, mean, rstd, M, C, write);
    } else if (write == Write::add) {
      backward<T, Write::add>(to, dw, db, g, from, w, mean, rstd, M, C);
    } else {
      backward<T, Write::overwrite>(to, dw, db, g, from, w, mean, rstd, M, C);
    }
  });
}

}  // namespace ssmax::kernels::cpu
