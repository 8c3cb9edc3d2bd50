#include "kernels/rms_norm/rms_norm_cpu.h"

#include <algorithm>
#include <type_traits>

#include "kernels/elements.h"
#include "kernels/rms_norm/rms_norm_launch.h"
#include "kernels/rows.h"
#include "kernels/workspace.h"

namespace ssmax::kernels::cpu {

namespace {

template <class T>
float sum_of_squares(const T* x, std::int64_t C) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t c = 0; c < C; ++c) {
    const float value = load(x[c]);
    sum += value * value;
  }
  return sum;
}

// The sum is rounded to T first, so that forward and backward see the same x.
template <class T>
float add_row(T* sum, const T* x, const T* delta, std::int64_t C) {
  float squares = 0.0F;
#pragma omp simd reduction(+ : squares)
  for (std::int64_t c = 0; c < C; ++c) {
    store(sum[c], load(x[c]) + load(delta[c]));
    const float value = load(sum[c]);
    squares += value * value;
  }
  return squares;
}

float rstd_of(float squares, std::int64_t C, double eps) {
  return 1.0F / std::sqrt(squares / static_cast<float>(C) + static_cast<float>(eps));
}

template <class T>
void scale_row(T* y, const T* x, const T* weight, float rstd, std::int64_t C) {
#pragma omp simd
  for (std::int64_t c = 0; c < C; ++c) {
    store(y[c], load(x[c]) * rstd * load(weight[c]));
  }
}

template <class T>
float weighted_dot(const T* dy, const T* x, const T* weight, std::int64_t C) {
  float dot = 0.0F;
#pragma omp simd reduction(+ : dot)
  for (std::int64_t c = 0; c < C; ++c) {
    dot += load(dy[c]) * load(weight[c]) * load(x[c]);
  }
  return dot;
}

template <class T, Write kWrite>
void backward_row(T* dx, float* dweight, const T* dy, const T* x, const T* weight, float rstd,
                  std::int64_t C) {
  const float pull = weighted_dot(dy, x, weight, C) * rstd * rstd / static_cast<float>(C);
#pragma omp simd
  for (std::int64_t c = 0; c < C; ++c) {
    const float g = load(dy[c]);
    const float v = load(x[c]);
    dweight[c] += g * v * rstd;
    float value = (g * load(weight[c]) - v * pull) * rstd;
    if constexpr (kWrite == Write::add) value += load(dx[c]);
    store(dx[c], value);
  }
}

template <class T, Write kWrite>
void backward(T* dx, float* dweight, const T* dy, const T* x, const T* weight, const float* rstd,
              std::int64_t M, std::int64_t C) {
  const RowChunks chunks(M);
  float* partials = workspace<float>(chunks.count * C);
  device::parallel_for(M, chunks.size, [&](std::int64_t begin, std::int64_t end) {
    float* partial = partials + begin / chunks.size * C;
    std::fill_n(partial, C, 0.0F);
    for (std::int64_t m = begin; m < end; ++m) {
      backward_row<T, kWrite>(dx + m * C, partial, dy + m * C, x + m * C, weight, rstd[m], C);
    }
  });
  add_partials(dweight, partials, chunks.count, C);
}

}  // namespace

void rms_norm(Stream& /*stream*/, const Tensor& y, const Tensor& rstd, const ConstTensor& x,
              const ConstTensor& weight, double eps) {
  const std::int64_t M = row_count(x);
  const std::int64_t C = row_size(x);
  device::dispatch(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* to = y.data<T>();
    const T* from = x.data<T>();
    const T* w = weight.data<T>();
    auto* r = rstd.data<device::Accumulator<T>>();
    if constexpr (std::is_same_v<T, double>) {
      plain::rms_norm(to, r, from, w, M, C, eps);
    } else {
      device::parallel_for(M, rows_per_task(C), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t m = begin; m < end; ++m) {
          r[m] = rstd_of(sum_of_squares(from + m * C, C), C, eps);
          scale_row(to + m * C, from + m * C, w, r[m], C);
        }
      });
    }
  });
}

void add_rms_norm(Stream& /*stream*/, const Tensor& sum, const Tensor& y, const Tensor& rstd,
                  const ConstTensor& x, const ConstTensor& delta, const ConstTensor& weight,
                  double eps) {
  const std::int64_t M = row_count(x);
  const std::int64_t C = row_size(x);
  device::dispatch(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* s = sum.data<T>();
    T* to = y.data<T>();
    const T* a = x.data<T>();
    const T* b = delta.data<T>();
    const T* w = weight.data<T>();
    auto* r = rstd.data<device::Accumulator<T>>();
    if constexpr (std::is_same_v<T, double>) {
      for (std::int64_t i = 0; i < M * C; ++i) s[i] = a[i] + b[i];
      plain::rms_norm(to, r, s, w, M, C, eps);
    } else {
      device::parallel_for(M, rows_per_task(C), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t m = begin; m < end; ++m) {
          r[m] = rstd_of(add_row(s + m * C, a + m * C, b + m * C, C), C, eps);
          scale_row(to + m * C, s + m * C, w, r[m], C);
        }
      });
    }
  });
}

void rms_norm_backward(Stream& /*stream*/, const Tensor& dx, const Tensor& dweight,
                       const ConstTensor& dy, const ConstTensor& x, const ConstTensor& weight,
                       const ConstTensor& rstd, Write write) {
  const std::int64_t M = row_count(x);
  const std::int64_t C = row_size(x);
  device::dispatch(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = device::Accumulator<T>;
    T* to = dx.data<T>();
    A* dw = dweight.data<A>();
    const A* r = rstd.data<A>();
    const T* g = dy.data<T>();
    const T* from = x.data<T>();
    const T* w = weight.data<T>();
    if constexpr (std::is_same_v<T, double>) {
      plain::rms_norm_backward(to, dw, g, from, w, r, M, C, write);
    } else if (write == Write::add) {
      backward<T, Write::add>(to, dw, g, from, w, r, M, C);
    } else {
      backward<T, Write::overwrite>(to, dw, g, from, w, r, M, C);
    }
  });
}

}  // namespace ssmax::kernels::cpu
