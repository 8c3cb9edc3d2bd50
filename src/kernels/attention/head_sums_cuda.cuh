#pragma once

#include <algorithm>

#include "device/warp.cuh"
#include "kernels/column_sums_cuda.cuh"

/// Sums over the rows (B, H, T) of each head, added to a value of fp32 per head: the gradients of
/// what a head has one of. First parts of the rows, a block each, in double; then the parts. They
/// depend on the shape alone, so the order of every sum is fixed.
namespace ssmax::kernels::cuda {

inline constexpr int kHeadSumThreads = 256;

struct HeadRows {
  int batch;
  int heads;
  int time;

  std::int64_t count() const { return std::int64_t{batch} * time; }  ///< of a head
  std::int64_t part_size() const {
    constexpr std::int64_t kMostParts = 256;
    constexpr std::int64_t kLeastRows = 4 * kHeadSumThreads;
    return std::max(kLeastRows, base::div_up(count(), kMostParts));
  }
  std::int64_t parts() const { return base::div_up(count(), part_size()); }
  /// Floats that add_head_sums needs.
  std::int64_t partials() const { return parts() * heads; }
};

/// partials[part][h] = sum over the part's rows of term(b, h, t, row).
template <class Term>
__global__ void __launch_bounds__(kHeadSumThreads)
    head_sums_kernel(float* partials, Term term, HeadRows rows, std::int64_t part_size) {
  const auto h = static_cast<int>(blockIdx.x);
  const std::int64_t all = static_cast<std::int64_t>(rows.batch) * rows.time;
  const std::int64_t begin = blockIdx.y * part_size;
  const std::int64_t end = begin + part_size < all ? begin + part_size : all;
  double sum = 0;
  for (std::int64_t i = begin + threadIdx.x; i < end; i += kHeadSumThreads) {
    const auto b = static_cast<int>(i / rows.time);
    const auto t = static_cast<int>(i % rows.time);
    sum += term(b, h, t, (static_cast<std::int64_t>(b) * rows.heads + h) * rows.time + t);
  }
  sum = device::block_sum(sum);
  if (threadIdx.x == 0) {
    partials[static_cast<std::int64_t>(blockIdx.y) * rows.heads + h] = static_cast<float>(sum);
  }
}

/// target (H) += the sums of term; `partials` of rows.partials() floats.
template <class Term>
void add_head_sums(Stream& stream, float* target, const Term& term, const HeadRows& rows,
                   float* partials) {
  device::launch_kernel<head_sums_kernel<Term>>(
      stream,
      {.grid = dim3(static_cast<unsigned>(rows.heads), base::narrow<unsigned>(rows.parts())),
       .block = kHeadSumThreads},
      partials, term, rows, rows.part_size());
  add_chunks(stream, target, partials, rows.parts(), rows.heads);
}

}  // namespace ssmax::kernels::cuda
