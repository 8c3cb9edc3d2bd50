#include "kernels/cross_entropy/cross_entropy_cpu.h"

#include <cassert>
#include <limits>
#include <type_traits>

#include "device/vector_math.h"
#include "kernels/cross_entropy/cross_entropy_launch.h"
#include "kernels/elements.h"
#include "kernels/rows.h"

namespace ssmax::kernels::cpu {

namespace {

/// Elements that stay in the L1 cache between the search for the maximum and the sum.
constexpr std::int64_t kBlock = 2048;

/// softmax = e^(x - largest) / sum.
struct RowSum {
  float largest;
  double sum;
};

template <class T>
float largest_of(const T* x, std::int64_t count) {
  float largest = std::numeric_limits<float>::lowest();
#pragma omp simd reduction(max : largest)
  for (std::int64_t i = 0; i < count; ++i) {
    const float value = load(x[i]);
    largest = value > largest ? value : largest;
  }
  return largest;
}

template <class T>
float sum_of_exponentials(const T* x, float largest, std::int64_t count) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < count; ++i) {
    sum += device::vector_exp(load(x[i]) - largest);
  }
  return sum;
}

/// One pass over the row, block by block. A block adds at most 128 terms in each of 16 float lanes
/// and blocks add up in double, so the sum's relative error is below 2e-7 (vector_exp) +
/// (128 + 4) 2^-24 = 8.1e-6 for any V, and the loss's absolute error is the same number plus the
/// rounding of its f32 result.
template <class T>
RowSum row_sum(const T* x, std::int64_t V) {
  RowSum result{std::numeric_limits<float>::lowest(), 0.0};
  for (std::int64_t begin = 0; begin < V; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, V - begin);
    const float largest = largest_of(x + begin, count);
    if (largest > result.largest) {
      result.sum *= std::exp(static_cast<double>(result.largest) - static_cast<double>(largest));
      result.largest = largest;
    }
    result.sum += static_cast<double>(sum_of_exponentials(x + begin, result.largest, count));
  }
  return result;
}

template <class T>
float loss_of(const RowSum& row, T target_logit) {
  return static_cast<float>(std::log(row.sum) + static_cast<double>(row.largest) -
                            static_cast<double>(target_logit));
}

template <class T>
void gradient_row(T* x, const RowSum& row, std::int32_t target, std::int64_t V, double scale) {
  const float largest = row.largest;
  const auto factor = static_cast<float>(scale / row.sum);
  const double p =
      std::exp(static_cast<double>(x[target]) - static_cast<double>(largest)) / row.sum;
#pragma omp simd
  for (std::int64_t v = 0; v < V; ++v) {
    store(x[v], device::vector_exp(load(x[v]) - largest) * factor);
  }
  store(x[target], static_cast<float>((p - 1.0) * scale));
}

}  // namespace

void cross_entropy(Stream& /*stream*/, const Tensor& losses, const ConstTensor& logits,
                   const ConstTensor& targets, std::int64_t V) {
  const std::int64_t S = row_size(logits);
  const auto* ids = targets.data<std::int32_t>();
  device::dispatch(logits.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = device::Accumulator<T>;
    A* to = losses.data<A>();
    const T* from = logits.data<T>();
    device::parallel_for(row_count(logits), rows_per_task(V),
                         [&](std::int64_t begin, std::int64_t end) {
                           for (std::int64_t m = begin; m < end; ++m) {
                             assert(ids[m] >= kIgnoredTarget && ids[m] < V);
                             const T* row = from + m * S;
                             if constexpr (std::is_same_v<T, double>) {
                               to[m] = plain::cross_entropy(row, ids[m], V);
                             } else if (ids[m] == kIgnoredTarget) {
                               to[m] = 0.0F;
                             } else {
                               to[m] = loss_of(row_sum(row, V), row[ids[m]]);
                             }
                           }
                         });
  });
}

void cross_entropy_with_gradient(Stream& /*stream*/, const Tensor& losses, const Tensor& logits,
                                 const ConstTensor& targets, std::int64_t V, double scale) {
  const std::int64_t S = row_size(logits);
  const auto* ids = targets.data<std::int32_t>();
  device::dispatch(logits.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = device::Accumulator<T>;
    A* to = losses.data<A>();
    T* from = logits.data<T>();
    device::parallel_for(row_count(logits), rows_per_task(V),
                         [&](std::int64_t begin, std::int64_t end) {
                           for (std::int64_t m = begin; m < end; ++m) {
                             assert(ids[m] >= kIgnoredTarget && ids[m] < V);
                             T* row = from + m * S;
                             std::fill(row + V, row + S, T{});
                             if constexpr (std::is_same_v<T, double>) {
                               to[m] = plain::cross_entropy(row, ids[m], V);
                               plain::cross_entropy_gradient(row, ids[m], V, scale);
                             } else if (ids[m] == kIgnoredTarget) {
                               to[m] = 0.0F;
                               std::fill_n(row, V, T{});
                             } else {
                               const RowSum sum = row_sum(row, V);
                               to[m] = loss_of(sum, row[ids[m]]);
                               gradient_row(row, sum, ids[m], V, scale);
                             }
                           }
                         });
  });
}

}  // namespace ssmax::kernels::cpu
