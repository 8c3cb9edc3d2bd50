#include "evaluation/fading.h"

#include <gtest/gtest.h>

#include <cmath>

#include "evaluation/small_model.h"
#include "model/generation.h"

namespace ssmax::evaluation {
namespace {

void ignore(std::int64_t /*tokens*/) {}

TEST(Fading, TwoLengthsToADoublingAndTheLongest) {
  EXPECT_EQ(fading_lengths(20), (std::vector<std::int64_t>{2, 3, 4, 6, 8, 11, 16, 20}));
  EXPECT_EQ(fading_lengths(16), (std::vector<std::int64_t>{2, 3, 4, 6, 8, 11, 16}));
  EXPECT_EQ(fading_lengths(2), (std::vector<std::int64_t>{2}));
}

TEST(Fading, OfEvenRowsIsKnown) {
  SmallModel small(31);
  small.attend_evenly();
  corpus::Loader loader = small.loader(24, 2);
  std::int64_t told = 0;
  const auto all = measure_fading(small.stream, small.model, loader, 4,
                                  [&](std::int64_t tokens) { told += tokens; });
  EXPECT_EQ(told, 4 * 24);
  ASSERT_EQ(all.size(), fading_lengths(24).size());
  for (const FadingRows& rows : all) {
    ASSERT_EQ(rows.heads.size(), 4U);  // layers * H
    const auto n = static_cast<double>(rows.keys);
    EXPECT_NEAR(rows.mean().maximum, 1.0 / n, 1e-12);
    EXPECT_NEAR(rows.mean().entropy, std::log(n), 1e-12);
    EXPECT_NEAR(rows.heads[3].sum, 1.0, 1e-12);
  }
}

/// Against sequences that are read one by one, a token at a time.
TEST(Fading, RowsAreThoseOfATokenAtATime) {
  SmallModel small(31);
  corpus::Loader loader = small.loader(24, 2);
  const auto all = measure_fading(small.stream, small.model, loader, 4, ignore);
  std::vector<std::vector<RowSpread>> sums(25, std::vector<RowSpread>(4));  // by n
  corpus::Loader again = small.loader(24, 1);
  for (int sequence = 0; sequence < 4; ++sequence) {
    device::Arena arena;
    model::KvDecoder decoder(small.model, 1, 24, arena, 1);
    AttentionRows rows(small.model, 1, 24, arena);
    const corpus::Batch batch = again.next();
    for (std::size_t t = 0; t < 24; ++t) {
      const auto visit = rows.visitor(small.stream, [&](const AttentionRow& row) {
        for (std::int64_t h = 0; h < 2; ++h) {
          const RowSpread one = spread_of(row.of(0, h));
          RowSpread& sum = sums[t + 1][static_cast<std::size_t>(row.block * 2 + h)];
          sum.maximum += one.maximum / 4;
          sum.entropy += one.entropy / 4;
        }
      });
      decoder.feed(small.stream, batch.tokens.subspan(t, 1), visit);
    }
  }
  for (const FadingRows& rows : all) {
    for (std::size_t head = 0; head < 4; ++head) {
      const RowSpread& slow = sums[static_cast<std::size_t>(rows.keys)][head];
      EXPECT_NEAR(rows.heads[head].maximum, slow.maximum, 1e-12);
      EXPECT_NEAR(rows.heads[head].entropy, slow.entropy, 1e-12);
    }
  }
}

}  // namespace
}  // namespace ssmax::evaluation
