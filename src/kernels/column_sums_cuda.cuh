#pragma once

#include <algorithm>

#include "device/workspace_cuda.h"
#include "kernels/dispatch_cuda.cuh"

// Sums over the rows of a matrix, added to a row of fp32: first the rows of each chunk, then the
// chunks. Chunks depend on the number of rows alone, so the order of every sum is fixed.

namespace ssmax::kernels::cuda {

struct ColumnChunks {
  static constexpr std::int64_t kMost = 512;

  explicit ColumnChunks(std::int64_t rows)
      : size(std::max<std::int64_t>(16, base::div_up(rows, kMost))),
        count(base::div_up(rows, size)) {}

  std::int64_t size;   ///< rows of a chunk
  std::int64_t count;  ///< at most kMost
};

/// target[c] += partials[0][c] + partials[1][c] + ...; partials (chunks, width).
void add_chunks(Stream& stream, float* target, const float* partials, std::int64_t chunks,
                std::int64_t width);

/// partials[chunk][c] = sum over the chunk's rows of term(row, c), kCount columns to a thread.
template <int kCount, class Term>
__global__ void chunk_sums_kernel(float* partials, Term term, std::int64_t rows, std::int64_t width,
                                  std::int64_t chunk_size) {
  const std::int64_t column = global_thread() * kCount;
  if (column >= width) return;
  const std::int64_t chunk = blockIdx.y;
  const std::int64_t begin = chunk * chunk_size;
  const std::int64_t end = begin + chunk_size < rows ? begin + chunk_size : rows;
  device::Values<kCount> sum{};
  for (std::int64_t row = begin; row < end; ++row) {
    const device::Values<kCount> value = term(row, column);
#pragma unroll
    for (int j = 0; j < kCount; ++j) sum[j] += value[j];
  }
  device::store_values<kCount>(partials + chunk * width + column, sum);
}

/// target (width) += the sums over rows of term(row, column), which gives kCount columns. Takes the
/// stream's workspace.
template <int kCount, class Term>
void add_column_sums(Stream& stream, float* target, const Term& term, std::int64_t rows,
                     std::int64_t width) {
  constexpr int kThreads = 128;
  const ColumnChunks chunks(rows);
  auto* partials = static_cast<float*>(device::cuda::workspace(
      stream, chunks.count * width * static_cast<std::int64_t>(sizeof(float))));
  dim3 grid = device::blocks_for(width, kThreads * kCount);
  grid.y = base::narrow<unsigned>(chunks.count);
  device::launch_kernel<chunk_sums_kernel<kCount, Term>>(stream, {.grid = grid, .block = kThreads},
                                                         partials, term, rows, width, chunks.size);
  add_chunks(stream, target, partials, chunks.count, width);
}

}  // namespace ssmax::kernels::cuda
