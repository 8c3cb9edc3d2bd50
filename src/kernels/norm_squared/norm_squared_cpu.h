#pragma once

#include <cstdint>

namespace ssmax::kernels::plain {

/// Sum of squares of a chunk in double; a square of a float is exact there.
template <class T>
double norm_squared(const T* x, std::int64_t begin, std::int64_t end) {
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = begin; i < end; ++i) {
    sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  return sum;
}

}  // namespace ssmax::kernels::plain
