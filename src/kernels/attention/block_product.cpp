#include "kernels/attention/block_product.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace ssmax::kernels::cpu {

namespace {

using Vector [[gnu::vector_size(kLanes * sizeof(float))]] = float;

Vector load(const float* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof(vector));
  return vector;
}

void store(float* to, const Vector& vector) { std::memcpy(to, &vector, sizeof(vector)); }

template <int kRows, int kVectors>
void multiply(const BlockProduct& p, std::int64_t depth, Sum sum) {
  Vector total[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      total[r][v] = sum == Sum::go_on ? load(p.c + r * p.c_row + v * kLanes) : Vector{};
    }
  }
  const float* a = p.a;
  const float* b = p.b;
  for (std::int64_t k = 0; k < depth; ++k, a += p.a_depth, b += p.b_row) {
    Vector right[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) right[v] = load(b + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const float left = a[r * p.a_row];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) total[r][v] += left * right[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(p.c + r * p.c_row + v * kLanes, total[r][v]);
  }
}

using Multiply = void (*)(const BlockProduct&, std::int64_t, Sum);

/// One function for every block height and width, edges included.
template <int... kIndex>
constexpr auto multiply_table(std::integer_sequence<int, kIndex...>) {
  return std::array<Multiply, sizeof...(kIndex)>{
      &multiply<kIndex / kBlockVectors + 1, kIndex % kBlockVectors + 1>...};
}
constexpr auto kMultiply =
    multiply_table(std::make_integer_sequence<int, kBlockRows * kBlockVectors>{});

/// Of two rows: upper = their lanes without the bit kHalf, lower = those with it, side by side.
template <int kHalf, int... kLane>
void exchange(Vector& upper, Vector& lower, std::integer_sequence<int, kLane...>) {
  const Vector first = upper;
  const Vector second = lower;
  upper = __builtin_shufflevector(first, second,
                                  ((kLane & kHalf) != 0 ? kLanes + kLane - kHalf : kLane)...);
  lower = __builtin_shufflevector(first, second,
                                  ((kLane & kHalf) != 0 ? kLanes + kLane : kLane + kHalf)...);
}

/// Transposes a square of kLanes x kLanes: each stage exchanges the off-diagonal blocks of `kHalf`.
template <int kHalf>
void transpose(Vector (&rows)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if ((i & kHalf) != 0) continue;
    exchange<kHalf>(rows[i], rows[i + kHalf], std::make_integer_sequence<int, kLanes>{});
  }
  if constexpr (kHalf > 1) transpose<kHalf / 2>(rows);
}

}  // namespace

void block_product(const BlockProduct& p, std::int64_t rows, std::int64_t columns,
                   std::int64_t depth, Sum sum) {
  for (std::int64_t column = 0; column < columns; column += kBlockColumns) {
    const auto width = std::min<std::int64_t>(kBlockColumns, columns - column);
    const std::int64_t vectors = (width + kLanes - 1) / kLanes;
    for (std::int64_t row = 0; row < rows; row += kBlockRows) {
      const auto height = std::min<std::int64_t>(kBlockRows, rows - row);
      BlockProduct block = p;
      block.c += row * p.c_row + column;
      block.a += row * p.a_row;
      block.b += column;
      kMultiply[static_cast<std::size_t>((height - 1) * kBlockVectors + vectors - 1)](block, depth,
                                                                                      sum);
    }
  }
}

void pack_panel(float* panel, const float* rows, std::int64_t keys, std::int64_t width) {
  for (std::int64_t first = 0; first < kBlockColumns; first += kLanes) {
    for (std::int64_t d = 0; d < width; d += kLanes) {
      Vector square[kLanes];
#pragma GCC unroll 16
      for (int k = 0; k < kLanes; ++k) {
        square[k] = first + k < keys ? load(rows + (first + k) * width + d) : Vector{};
      }
      transpose<kLanes / 2>(square);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) store(panel + (d + i) * kBlockColumns + first, square[i]);
    }
  }
}

}  // namespace ssmax::kernels::cpu
