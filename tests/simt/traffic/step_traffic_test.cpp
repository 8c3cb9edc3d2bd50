#include "step_traffic.h"

#include <gtest/gtest.h>

#include <algorithm>

// The kernels of a training step waste neither sectors nor banks.

namespace ssmax::simt {
namespace {

/// What an op may do beyond its tensors, each once, in whole sectors and without conflicts; 256
/// rows.
struct Bound {
  const char* op;
  std::int64_t bytes;      // moved
  std::int64_t sectors;    // touched by the first kernel, beyond those of the bytes it asks for
  std::int64_t conflicts;  // wavefronts of the first kernel
};

constexpr Bound kBounds[] = {
    // The token of each warp, 28 of 32 bytes for nothing; 33 KB fewer, where tokens repeat.
    {"embedding", 0, 768 * 28 / 32, 0},
    // The weight, and one or two values of each row, stored by one lane.
    {"rms_norm", 1536 + 1024, 256 * 28 / 32, 0},
    {"rms_norm add", 1536 + 1024, 256 * 28 / 32, 0},
    {"layer_norm", 1536 + 2048, 256 * 2 * 28 / 32, 0},
    {"layer_norm add", 1536 + 2048, 256 * 2 * 28 / 32, 0},
    // Those again, the gradient read and written, and sums of the columns of each 16 rows, written
    // and
    // read; their addition, once for the 16 rows, meets two to a bank.
    {"rms_norm backward add", 2560 + 2 * 3072 + 2 * 16 * 3072, 256 * 28 / 32, 16 * 192},
    {"layer_norm backward add", 3584 + 4 * 3072 + 4 * 16 * 3072, 256 * 2 * 28 / 32, 16 * 384},
    // Sums of eight columns to a thread, in two accesses that share every sector.
    {"linear bias gradient", 2 * 16 * 9216, 16 * 9216 / 32, 0},
    // The angles, eight to a thread.
    {"rope of q and k", 65536, 24 * 256, 0},
    {"swiglu", 0, 0, 0},
    {"swiglu backward", 0, 0, 0},
    {"gelu", 0, 0, 0},
    {"gelu backward", 0, 0, 0},
    {"cast from f32", 0, 0, 0},
    {"add", 0, 0, 0},
    // Targets and losses; target, its logit and the ends of a row of 2,003 in each of 32 warps.
    {"cross_entropy", 2048, 7840, 0},
    // And the padding of the rows, 45 of 2,048.
    {"cross_entropy with gradient", 2048 + 45 * 512, 16240, 0},
    // The sums of three blocks, written and read, and the result.
    {"norm_squared", 56, 3, 0},
    // The scale of the gradient in each warp.
    {"adamw with bf16 copy", 4, 1536 * 28 / 32, 0},
};

TEST(StepTraffic, RowOpsMoveTheirTensorsOnce) {
  const std::vector<OpTraffic> ops = count_row_ops();
  for (const Bound& bound : kBounds) {
    SCOPED_TRACE(bound.op);
    const auto op = std::find_if(ops.begin(), ops.end(),
                                 [&](const OpTraffic& one) { return one.name == bound.op; });
    ASSERT_NE(op, ops.end());
    EXPECT_LE(static_cast<double>(op->moved()), op->bytes + static_cast<double>(bound.bytes));
    const KernelTraffic& first = op->kernels[0];
    const std::uint64_t asked_for = first.loads.bytes + first.stores.bytes;
    EXPECT_GT(asked_for, 0U);
    EXPECT_LE(first.asked(), asked_for + 32 * static_cast<std::uint64_t>(bound.sectors));
    EXPECT_LE(first.plain.wavefronts,
              first.plain.ideal + static_cast<std::uint64_t>(bound.conflicts));
  }
}

// SSMax has forward and keys stationary, with rows prepared before and queries finished after;
// what goes through a row's ends has forward, queries stationary and keys stationary.
TEST(StepTraffic, AttentionTilesAreFreeOfConflicts) {
  using Case = std::pair<std::string, int>;
  for (const auto& [normalizer, passes] :
       {Case{"ssmax", 2}, Case{"self_adjust:variant=normalized", 3}}) {
    for (const std::int64_t head_size : {64, 128}) {
      int fused = 0;
      for (const OpTraffic& op : count_attention(normalizer, head_size)) {
        SCOPED_TRACE(op.name);
        for (const KernelTraffic& kernel : op.kernels) {
          if (kernel.matrices.ideal != 0) ++fused;
          EXPECT_EQ(kernel.matrices.wavefronts, kernel.matrices.ideal);
          EXPECT_EQ(kernel.copies.wavefronts, kernel.copies.ideal);
          // Each of six blocks writes its rows once; two have a row of one key, whose D is read
          // apart.
          EXPECT_LE(kernel.plain.wavefronts, kernel.plain.ideal + (6 + 2) * 32);
        }
      }
      EXPECT_EQ(fused, passes);
    }
  }
}

}  // namespace
}  // namespace ssmax::simt
