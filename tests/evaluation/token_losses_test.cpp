#include "evaluation/token_losses.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <numeric>

#include "base/errors.h"
#include "evaluation/logits.h"
#include "evaluation/small_model.h"

namespace ssmax::evaluation {
namespace {

BatchLosses batch_of(const std::vector<double>& losses, const std::vector<std::int32_t>& targets,
                     std::int64_t length) {
  const auto rows = static_cast<std::int64_t>(losses.size());
  return {rows / length, length, losses, targets};
}

TEST(LossStatistics, MeansByTokenAndByPosition) {
  const std::vector<double> losses = {1.0, 2.0, 3.0, 5.0};  // (B, T) = (2, 2)
  const std::vector<std::int32_t> targets = {0, 1, 1, 1};
  LossStatistics statistics(2);
  statistics.add(batch_of(losses, targets, 2), [](std::int32_t token) { return token * 3; });
  const LossReport loss = statistics.loss();
  EXPECT_DOUBLE_EQ(loss.nats_per_token, 11.0 / 4);
  EXPECT_EQ(loss.tokens, 4);
  EXPECT_EQ(loss.bytes, 9);
  EXPECT_DOUBLE_EQ(loss.bits_per_byte(), 11.0 / std::numbers::ln2 / 9);
  // Sequence means 1.5 and 4: standard deviation 2.5 / sqrt 2, over sqrt 2 sequences.
  EXPECT_DOUBLE_EQ(loss.standard_error, 1.25);
  const PositionReport positions = statistics.positions();
  EXPECT_EQ(positions.sequences, 2);
  EXPECT_EQ(positions.mean, (std::vector<double>{2.0, 3.5}));
  EXPECT_DOUBLE_EQ(positions.standard_error[0], 1.0);
  EXPECT_DOUBLE_EQ(positions.standard_error[1], 1.5);
}

TEST(LossStatistics, WhatHasNoTargetDoesNotCount) {
  const std::vector<std::int32_t> targets = {4, 4, 4, -1, -1, -1};
  LossStatistics statistics(2);
  statistics.add(batch_of({1.0, 2.0, 6.0, 0.0, 0.0, 0.0}, targets, 2), {});
  EXPECT_EQ(statistics.loss().tokens, 3);
  EXPECT_DOUBLE_EQ(statistics.loss().nats_per_token, 3.0);
  // Sequence means 1.5 and 6.
  EXPECT_DOUBLE_EQ(statistics.loss().standard_error, 2.25);
  EXPECT_DOUBLE_EQ(statistics.positions().bands.at(0).mean, 3.75);
  EXPECT_EQ(statistics.positions().mean, (std::vector<double>{3.5, 2.0}));
}

TEST(LossStatistics, BandsCoverThePositionsAndBoundTheMean) {
  const std::vector<PositionBand> bands = position_bands(100);
  EXPECT_EQ(bands.front().end, 16);
  EXPECT_EQ(bands[2].end, 32);
  EXPECT_EQ(bands.back().end, 100);
  for (std::size_t i = 1; i < bands.size(); ++i) EXPECT_EQ(bands[i].begin, bands[i - 1].end);

  LossStatistics statistics(2);
  statistics.add(batch_of({1.0, 2.0, 3.0, 6.0, 4.0, 5.0}, std::vector<std::int32_t>(6, 0), 2), {});
  // Means 1.5, 4.5, 4.5: standard error 1, t of two degrees of freedom 4.303.
  const PositionBand band = statistics.positions().bands.at(0);
  EXPECT_EQ(band.end, 2);
  EXPECT_DOUBLE_EQ(band.mean, 3.5);
  EXPECT_DOUBLE_EQ(band.standard_error, 1.0);
  EXPECT_DOUBLE_EQ(band.low, 3.5 - 4.303);
  EXPECT_DOUBLE_EQ(band.high, 3.5 + 4.303);
}

/// Against tables of Student's t.
TEST(LossStatistics, IntervalsFollowStudent) {
  for (const auto& [sequences, quantile] : std::vector<std::pair<int, double>>{
           {6, 2.5706}, {11, 2.2281}, {31, 2.0423}, {101, 1.9840}}) {
    LossStatistics statistics(1);
    for (int i = 0; i < sequences; ++i) {
      const std::vector<double> loss = {static_cast<double>(i % 3)};
      statistics.add(batch_of(loss, {0}, 1), {});
    }
    const PositionBand band = statistics.positions().bands.at(0);
    EXPECT_NEAR((band.high - band.mean) / band.standard_error, quantile, 2e-3 * quantile);
  }
}

TEST(LossStatistics, SeveralBatchesAreOne) {
  const std::vector<double> losses = {1.0, 2.0, 3.0, 5.0, 0.5, 0.25};
  const std::vector<std::int32_t> targets(6, 0);
  LossStatistics whole(2);
  whole.add(batch_of(losses, targets, 2), {});
  LossStatistics parts(2);
  for (std::size_t b = 0; b < 3; ++b) {
    parts.add(batch_of({losses[2 * b], losses[2 * b + 1]}, {0, 0}, 2), {});
  }
  EXPECT_EQ(whole.loss().nats_per_token, parts.loss().nats_per_token);
  EXPECT_EQ(whole.positions().mean, parts.positions().mean);
  EXPECT_EQ(whole.loss().bits_per_byte(), 0.0);  // no tokenizer, no bytes
}

/// A sequence's losses must not depend on which sequences share its batch.
TEST(TokenLosses, DoNotDependOnTheBatch) {
  const SmallModel small(31);
  Stream stream;
  std::vector<std::vector<double>> found;
  for (const std::int64_t batch : {1, 4}) {
    corpus::Loader loader = small.loader(12, batch);
    device::Arena arena;
    model::Activations activations = small.model.evaluation_activations(batch, 12, arena);
    TokenLosses losses(small.model, activations, arena);
    std::vector<double> all;
    for (std::int64_t done = 0; done < 8; done += batch) {
      const BatchLosses next = losses.next(stream, loader);
      all.insert(all.end(), next.losses.begin(), next.losses.end());
    }
    found.push_back(all);
  }
  ASSERT_EQ(found[0].size(), 96U);
  for (std::size_t i = 0; i < 96; ++i) EXPECT_NEAR(found[0][i], found[1][i], 1e-12);

  corpus::Loader loader = small.loader(12, 4);
  std::int64_t told = 0;
  const LossReport report =
      measure_losses(stream, small.model, loader, 8, {}, [&](std::int64_t n) { told += n; }).loss();
  EXPECT_EQ(report.tokens, 96);
  EXPECT_EQ(told, 96);
  EXPECT_NEAR(report.nats_per_token, std::accumulate(found[0].begin(), found[0].end(), 0.0) / 96,
              1e-12);
}

TEST(TokenBytes, CountTheTextOfATokenizer) {
  const corpus::Tokenizer tokenizer = corpus::Tokenizer::byte_level();
  const TokenBytes bytes = token_bytes(tokenizer);
  EXPECT_EQ(bytes('a'), 1);
  EXPECT_EQ(bytes(tokenizer.end_of_text()), 0);
  try {
    bytes(300);
    ADD_FAILURE() << "expected an error";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::data);
    EXPECT_NE(std::string(error.what()).find("token id 300"), std::string::npos);
  }
}

/// The log-likelihoods that the logits of a position give are its losses.
TEST(SequenceLogits, AreThoseOfTheLosses) {
  const SmallModel small(31);
  Stream stream;
  corpus::Loader loader = small.loader(12, 2);
  const SequenceLogits all =
      all_logits(stream, small.model, loader, 4, [](std::int64_t /*tokens*/) {});
  ASSERT_EQ(all.tokens.size(), 48U);
  ASSERT_EQ(all.logits.size(), 48U * 31);
  corpus::Loader again = small.loader(12, 4);
  device::Arena arena;
  model::Activations activations = small.model.evaluation_activations(4, 12, arena);
  TokenLosses losses(small.model, activations, arena);
  const BatchLosses exact = losses.next(stream, again);
  for (std::size_t i = 0; i < 48; ++i) {
    const auto row = std::span(all.logits).subspan(i * 31, 31);
    double sum = 0.0;
    for (const float logit : row) sum += std::exp(static_cast<double>(logit));
    const auto target = static_cast<std::size_t>(exact.targets[i]);
    // Logits are rounded to f32, 2^-24 of at most a few units.
    EXPECT_NEAR(std::log(sum) - static_cast<double>(row[target]), exact.losses[i], 1e-6);
  }
}

}  // namespace
}  // namespace ssmax::evaluation
