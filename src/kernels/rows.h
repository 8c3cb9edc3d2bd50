#pragma once

#include <algorithm>
#include <cstdint>

#include "base/checked.h"
#include "device/parallel.h"

namespace ssmax::kernels {

/// Elements of one parallel task of a light op: some ten microseconds, far above the price of
/// handing out a task.
inline constexpr std::int64_t kElementsPerTask = std::int64_t{1} << 15;

constexpr std::int64_t rows_per_task(std::int64_t row_elements) {
  return std::max<std::int64_t>(1, kElementsPerTask / std::max<std::int64_t>(1, row_elements));
}

/// A cut of M rows for sums over rows: it depends on M alone, so sums made of one partial row per
/// chunk, added in order, do not depend on the number of threads.
struct RowChunks {
  static constexpr std::int64_t kMost = 64;

  explicit RowChunks(std::int64_t rows)
      : size(std::max<std::int64_t>(16, base::div_up(rows, kMost))),
        count(base::div_up(rows, size)) {}

  std::int64_t size;   ///< rows of a chunk
  std::int64_t count;  ///< at most kMost
};

/// target[c] += partials[0][c] + partials[1][c] + ..., in that order. partials (chunks, width).
template <class A>
void add_partials(A* target, const A* partials, std::int64_t chunks, std::int64_t width) {
  device::parallel_for(width, 512, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
      const A* partial = partials + chunk * width;
#pragma omp simd
      for (std::int64_t c = begin; c < end; ++c) target[c] += partial[c];
    }
  });
}

}  // namespace ssmax::kernels
