#pragma once

#include <cstdint>

#include "device/vector_width.h"

/// Small matrix products in fp32 registers for the tiled attention of the CPU.
namespace ssmax::kernels::cpu {

inline constexpr int kLanes = device::kVectorLanes;
inline constexpr int kBlockVectors = kLanes == 16 ? 4 : 2;
/// Rows and columns of the register block: 24 or 12 accumulators, the most that leave registers for
/// the operands.
inline constexpr int kBlockRows = 6;
inline constexpr int kBlockColumns = kBlockVectors * kLanes;

/// c = or += a b for `rows` x `columns` elements over `depth`. Element (r, k) of a is
/// a[r * a_row + k * a_depth]; b has depth rows, b_row apart; columns are rounded up to kLanes, so
/// b and c must be readable and c writable up to there. Every element is one fused sum over k in
/// order: its bits do not depend on how the product is cut.
struct BlockProduct {
  float* c;
  std::int64_t c_row;
  const float* a;
  std::int64_t a_row;
  std::int64_t a_depth;
  const float* b;
  std::int64_t b_row;
};

enum class Sum : unsigned char { start, go_on };

void block_product(const BlockProduct& p, std::int64_t rows, std::int64_t columns,
                   std::int64_t depth, Sum sum);

/// panel[d][k] = rows[k][d] for k < keys <= kBlockColumns and d < width, a multiple of kLanes; rows
/// are `width` apart; further k are 0. A transposed operand is a series of such panels.
void pack_panel(float* panel, const float* rows, std::int64_t keys, std::int64_t width);

}  // namespace ssmax::kernels::cpu
