#pragma once

#include <cstdint>

#include "kernels/elements.h"

namespace ssmax::kernels::plain {

/// Through float when one side is bf16, else direct: one rounding in each case but f64 to bf16,
/// which rounds to f32 first as Bf16 itself does.
template <class To, class From>
void cast(To* out, const From* x, std::int64_t begin, std::int64_t end) {
#pragma omp simd
  for (std::int64_t i = begin; i < end; ++i) {
    store(out[i], static_cast<device::Accumulator<To>>(load(x[i])));
  }
}

template <class T>
void add(T* out, const T* a, const T* b, std::int64_t begin, std::int64_t end) {
#pragma omp simd
  for (std::int64_t i = begin; i < end; ++i) {
    store(out[i], load(a[i]) + load(b[i]));
  }
}

}  // namespace ssmax::kernels::plain
