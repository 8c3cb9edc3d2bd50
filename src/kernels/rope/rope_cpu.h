#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/elements.h"

namespace ssmax::kernels::plain {

/// table (P, D), rows [begin, end); angles in double for every T.
template <class T>
void rope_table(T* table, std::int64_t begin, std::int64_t end, std::int64_t D, double theta) {
  for (std::int64_t p = begin; p < end; ++p) {
    for (std::int64_t i = 0; i < D / 2; ++i) {
      const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(D);
      const double angle = static_cast<double>(p) * std::pow(theta, exponent);
      table[p * D + i] = static_cast<T>(std::cos(angle));
      table[p * D + D / 2 + i] = static_cast<T>(std::sin(angle));
    }
  }
}

/// One head in place: (a, b) becomes (a cos - b sin, b cos + a sin); direction -1 turns back.
template <class T, class A>
void rope_head(T* head, const A* cosine, const A* sine, std::int64_t half, A direction) {
#pragma omp simd
  for (std::int64_t i = 0; i < half; ++i) {
    const A a = load(head[i]);
    const A b = load(head[half + i]);
    const A s = sine[i] * direction;
    store(head[i], a * cosine[i] - b * s);
    store(head[half + i], b * cosine[i] + a * s);
  }
}

}  // namespace ssmax::kernels::plain
