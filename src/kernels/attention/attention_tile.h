#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "base/checked.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/block_product.h"
#include "kernels/workspace.h"

/// The parts of the tiled attention on the CPU that do not know the weighting: which keys a block
/// of queries sees, fp32 copies of the operands, and the six products. A tile holds the whole rows
/// of kTileRows queries, so memory grows with the keys and not with their square.
namespace ssmax::kernels::cpu {

/// Queries of one tile: a multiple of kBlockRows, small enough that tile and operands of 1,024 keys
/// stay in a second-level cache.
inline constexpr std::int64_t kTileRows = 48;

constexpr std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return base::div_up(value, multiple) * multiple;
}

/// Extents of one task: its keys counted from the first one that any of its queries sees.
struct TileShape {
  std::int64_t base = 0;  ///< that first key
  std::int64_t keys = 0;
  std::int64_t padded = 0;  ///< keys, up to whole panels
  std::int64_t size = 0;    ///< D
  std::int64_t width = 0;   ///< D, up to whole vectors
  std::int64_t stride = 0;  ///< of a tile's rows; not a multiple of 4 KiB

  TileShape(std::int64_t first, std::int64_t count, std::int64_t head_size)
      : base(first),
        keys(count),
        padded(round_up(count, kBlockColumns)),
        size(head_size),
        width(round_up(head_size, kLanes)),
        stride(padded + kLanes) {}

  std::int64_t operand() const { return padded * width; }
  std::int64_t rows() const { return kTileRows * width; }
  std::int64_t tile() const { return kTileRows * stride; }
};

/// Hands out parts of a thread's scratch memory.
class Scratch {
 public:
  explicit Scratch(std::int64_t floats) : next_(workspace<float>(floats)) {}
  float* take(std::int64_t floats) {
    float* part = next_;
    next_ += floats;
    return part;
  }

 private:
  float* next_;
};

/// Queries [begin, end) of one head; `first` and `last` visible key of each, relative to the base.
struct TileQueries {
  std::int64_t begin = 0;
  std::int64_t count = 0;
  std::int64_t first_column = 0;  ///< least of first
  std::int64_t end_column = 0;    ///< after the last key that any of them sees
  std::int64_t first[kTileRows] = {};
  std::int64_t last[kTileRows] = {};

  TileQueries(const AttentionInputs& inputs, std::int64_t b, std::int64_t from, std::int64_t rows,
              std::int64_t base)
      : begin(from), count(rows), first_column(inputs.first_position + from + rows - base) {
    for (std::int64_t r = 0; r < rows; ++r) {
      first[r] = first_visible(inputs.first_key, b, from + r) - base;
      last[r] = inputs.first_position + from + r - base;
      first_column = std::min(first_column, first[r]);
    }
    end_column = last[rows - 1] + 1;
  }

  std::int64_t keys(std::int64_t r) const { return last[r] - first[r] + 1; }
  /// First row that sees keys as late as `column`; later rows do too.
  std::int64_t first_row(std::int64_t column) const {
    return std::max<std::int64_t>(0, column - last[0]);
  }
};

inline float tile_scale(const AttentionInputs& inputs, std::int64_t index) {
  return inputs.row_scale.data<float>()[index] / std::sqrt(static_cast<float>(inputs.q.head_size));
}

template <class T>
void to_float(float* out, const T* in, std::int64_t size, std::int64_t width) {
#pragma omp simd
  for (std::int64_t d = 0; d < size; ++d) out[d] = static_cast<float>(in[d]);
  for (std::int64_t d = size; d < width; ++d) out[d] = 0.0F;
}

/// Rows [begin, begin + count) of one head as fp32, `width` apart.
template <class T>
void copy_rows(float* out, const ConstHeadsView& view, std::int64_t b, std::int64_t head,
               std::int64_t begin, std::int64_t count, const TileShape& shape) {
  for (std::int64_t t = 0; t < count; ++t) {
    to_float(out + t * shape.width, view.at<T>(b, begin + t, head), shape.size, shape.width);
  }
}

/// Keys or values of a task as panels, in place of their transpose.
template <class T>
void copy_panels(float* out, const ConstHeadsView& view, std::int64_t b, std::int64_t group,
                 const TileShape& shape, float* rows) {
  for (std::int64_t key = 0; key < shape.keys; key += kBlockColumns) {
    const auto count = std::min<std::int64_t>(kBlockColumns, shape.keys - key);
    copy_rows<T>(rows, view, b, group, shape.base + key, count, shape);
    pack_panel(out + key * shape.width, rows, count, shape.width);
  }
}

template <class T>
void store_row(T* out, const float* in, std::int64_t size) {
#pragma omp simd
  for (std::int64_t d = 0; d < size; ++d) out[d] = T(in[d]);
}

/// tile(r, column) = rows(r) . panels(column) for every visible key, and some beside.
inline void score_tile(float* tile, const float* rows, const float* panels,
                       const TileQueries& queries, const TileShape& shape) {
  const std::int64_t from = queries.first_column / kBlockColumns * kBlockColumns;
  for (std::int64_t panel = from; panel < queries.end_column; panel += kBlockColumns) {
    for (std::int64_t r = queries.first_row(panel); r < queries.count; r += kBlockRows) {
      const auto count = std::min<std::int64_t>(kBlockRows, queries.count - r);
      const std::int64_t end = queries.last[r + count - 1] + 1;
      block_product({.c = tile + r * shape.stride + panel,
                     .c_row = shape.stride,
                     .a = rows + r * shape.width,
                     .a_row = shape.width,
                     .a_depth = 1,
                     .b = panels + panel * shape.width,
                     .b_row = kBlockColumns},
                    count, std::min<std::int64_t>(kBlockColumns, end - panel), shape.width,
                    Sum::start);
    }
  }
}

/// Writes 0 where row r of the tile holds no visible key.
inline void clear_masked(float* tile_row, const TileQueries& queries, std::int64_t r) {
  std::fill(tile_row + queries.first_column, tile_row + queries.first[r], 0.0F);
  std::fill(tile_row + queries.last[r] + 1, tile_row + queries.end_column, 0.0F);
}

/// out (rows, width) = tile times the rows of k or v.
inline void gather_tile(float* out, const float* tile, const float* rows,
                        const TileQueries& queries, const TileShape& shape) {
  for (std::int64_t r = 0; r < queries.count; r += kBlockRows) {
    const auto count = std::min<std::int64_t>(kBlockRows, queries.count - r);
    const std::int64_t from = *std::min_element(queries.first + r, queries.first + r + count);
    block_product({.c = out + r * shape.width,
                   .c_row = shape.width,
                   .a = tile + r * shape.stride + from,
                   .a_row = shape.stride,
                   .a_depth = 1,
                   .b = rows + from * shape.width,
                   .b_row = shape.width},
                  count, shape.width, queries.last[r + count - 1] + 1 - from, Sum::start);
  }
}

/// sums (keys, width) += transposed tile times the rows of q or dO.
inline void scatter_tile(float* sums, const float* tile, const float* rows,
                         const TileQueries& queries, const TileShape& shape) {
  for (std::int64_t key = queries.first_column; key < queries.end_column; key += kBlockRows) {
    const std::int64_t r = queries.first_row(key);
    block_product({.c = sums + key * shape.width,
                   .c_row = shape.width,
                   .a = tile + r * shape.stride + key,
                   .a_row = 1,
                   .a_depth = shape.stride,
                   .b = rows + r * shape.width,
                   .b_row = shape.width},
                  std::min<std::int64_t>(kBlockRows, queries.end_column - key), shape.width,
                  queries.count - r, Sum::go_on);
  }
}

/// First key that any query of sequence b in [begin, end) sees.
inline std::int64_t least_first_key(const AttentionInputs& inputs, std::int64_t b,
                                    std::int64_t begin, std::int64_t end) {
  std::int64_t least = first_visible(inputs.first_key, b, begin);
  for (std::int64_t t = begin + 1; t < end; ++t) {
    least = std::min(least, first_visible(inputs.first_key, b, t));
  }
  return least;
}

inline std::int64_t forward_floats(const TileShape& shape) {
  return 2 * shape.operand() + 2 * shape.rows() + shape.tile() + shape.stride +
         kBlockColumns * shape.width;
}

inline std::int64_t backward_floats(const TileShape& shape) {
  return 5 * shape.operand() + 3 * shape.rows() + 2 * shape.tile() + shape.stride +
         kBlockColumns * shape.width;
}

}  // namespace ssmax::kernels::cpu
