#pragma once

#include <cstdint>

#include "device/dtype.h"

namespace ssmax::kernels::plain {

/// Through float when one side is bf16, else direct: one rounding in each case but f64 to bf16,
/// which rounds to f32 first as Bf16 itself does.
template <class To, class From>
void cast(To* out, const From* x, std::int64_t begin, std::int64_t end) {
#pragma omp simd
  for (std::int64_t i = begin; i < end; ++i) out[i] = static_cast<To>(x[i]);
}

template <class T>
void add(T* out, const T* a, const T* b, std::int64_t begin, std::int64_t end) {
  using A = device::Accumulator<T>;
#pragma omp simd
  for (std::int64_t i = begin; i < end; ++i) {
    out[i] = static_cast<T>(static_cast<A>(a[i]) + static_cast<A>(b[i]));
  }
}

}  // namespace ssmax::kernels::plain
