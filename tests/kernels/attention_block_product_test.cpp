#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/random.h"
#include "kernels/attention/block_product.h"

namespace ssmax {
namespace {

using kernels::cpu::BlockProduct;
using kernels::cpu::Sum;

std::vector<float> random_floats(std::int64_t count, std::uint64_t stream) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(base::random_normal(5, stream, i));
  }
  return values;
}

// Every block height and width, edges included, with rows of a apart by row or by depth. A fused
// sum is one chain of std::fma, so the result is exact where the processor fuses.
TEST(AttentionBlockProduct, EveryHeightAndWidth) {
  constexpr std::int64_t kDepth = 19;
  constexpr std::int64_t kStride = 3 * kernels::cpu::kBlockColumns;
  const std::vector<float> a = random_floats(40 * 40, 1);
  const std::vector<float> b = random_floats(kDepth * kStride, 2);
  for (std::int64_t rows = 1; rows <= 2 * kernels::cpu::kBlockRows + 1; ++rows) {
    for (std::int64_t columns = 1; columns <= 2 * kernels::cpu::kBlockColumns; columns += 5) {
      for (const bool transposed : {false, true}) {
        for (const Sum sum : {Sum::start, Sum::go_on}) {
          std::vector<float> c = random_floats(rows * kStride, 3);
          const std::vector<float> before = c;
          const std::int64_t a_row = transposed ? 1 : 40;
          const std::int64_t a_depth = transposed ? 40 : 1;
          kernels::cpu::block_product(
              {c.data(), kStride, a.data(), a_row, a_depth, b.data(), kStride}, rows, columns,
              kDepth, sum);
          for (std::int64_t r = 0; r < rows; ++r) {
            for (std::int64_t j = 0; j < columns; ++j) {
              const auto at = static_cast<std::size_t>(r * kStride + j);
              double expected = sum == Sum::go_on ? before[at] : 0.0F;
              for (std::int64_t k = 0; k < kDepth; ++k) {
                expected +=
                    static_cast<double>(a[static_cast<std::size_t>(r * a_row + k * a_depth)]) *
                    static_cast<double>(b[static_cast<std::size_t>(k * kStride + j)]);
              }
              // Twenty roundings of sums of size about ten.
              ASSERT_NEAR(c[at], expected, 2e-5) << rows << " x " << columns;
            }
            for (std::int64_t j = (columns + kernels::cpu::kLanes - 1) / kernels::cpu::kLanes *
                                  kernels::cpu::kLanes;
                 j < kStride; ++j) {
              const auto at = static_cast<std::size_t>(r * kStride + j);
              ASSERT_EQ(c[at], before[at]) << "a column beyond the product was written";
            }
          }
        }
      }
    }
  }
}

TEST(AttentionBlockProduct, PanelsAreTransposedAndPadded) {
  constexpr std::int64_t kWidth = 2 * kernels::cpu::kLanes;
  for (std::int64_t keys = 1; keys <= kernels::cpu::kBlockColumns; keys += 3) {
    const std::vector<float> rows = random_floats(keys * kWidth, 4);
    std::vector<float> panel(kWidth * kernels::cpu::kBlockColumns, NAN);
    kernels::cpu::pack_panel(panel.data(), rows.data(), keys, kWidth);
    for (std::int64_t d = 0; d < kWidth; ++d) {
      for (std::int64_t k = 0; k < kernels::cpu::kBlockColumns; ++k) {
        const float expected = k < keys ? rows[static_cast<std::size_t>(k * kWidth + d)] : 0.0F;
        ASSERT_EQ(panel[static_cast<std::size_t>(d * kernels::cpu::kBlockColumns + k)], expected);
      }
    }
  }
}

}  // namespace
}  // namespace ssmax
