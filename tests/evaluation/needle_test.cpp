#include "evaluation/needle.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <optional>

#include "evaluation/attention_rows.h"
#include "evaluation/log_fit.h"
#include "support/temporary_folder.h"

namespace ssmax::evaluation {
namespace {

TEST(Needle, WilsonIntervalsAreTheKnownOnes) {
  // Tables of the interval: 8 of 10, none of 20, all of 20.
  const auto [low, high] = wilson_interval(8, 10);
  EXPECT_NEAR(low, 0.4902, 5e-5);
  EXPECT_NEAR(high, 0.9433, 5e-5);
  EXPECT_NEAR(wilson_interval(0, 20).first, 0.0, 1e-15);
  EXPECT_NEAR(wilson_interval(0, 20).second, 0.1611, 5e-5);
  EXPECT_NEAR(wilson_interval(20, 20).first, 0.8389, 5e-5);
  EXPECT_NEAR(wilson_interval(20, 20).second, 1.0, 1e-15);
}

TEST(Needle, AnswersAreJudgedByTheirDigits) {
  const corpus::Needle needle{"Tokyo", 8106422};
  EXPECT_EQ(needle.answer(), " 8106422.");
  EXPECT_EQ(judge(needle, " 8106422."), NeedleOutcome::exact);
  EXPECT_EQ(judge(needle, "8106422"), NeedleOutcome::exact);
  EXPECT_EQ(judge(needle, " 81064220"), NeedleOutcome::first_digit);
  EXPECT_EQ(judge(needle, " 8206422."), NeedleOutcome::first_digit);
  EXPECT_EQ(judge(needle, " 7106422."), NeedleOutcome::wrong);
  EXPECT_EQ(judge(needle, "  "), NeedleOutcome::wrong);
  EXPECT_EQ(judge(needle, ""), NeedleOutcome::wrong);
}

class NeedleReading : public ::testing::Test {
 protected:
  NeedleReading() {
    std::ofstream text(folder_.path() / "long.txt");
    for (int i = 0; i < 200; ++i) text << "It was day " << i << " of the voyage. We saw no land.";
    text.close();
    haystack_.emplace(std::vector<std::string>{(folder_.path() / "long.txt").string()}, tokenizer_);
    const auto config = base::parse_config<model::ModelConfig>(
        R"({"vocab_size": 257, "num_hidden_layers": 2, "num_attention_heads": 2,
            "hidden_size": 16, "intermediate_size": 20, "normalizer": {"kind": "ssmax"}})",
        "test");
    model_.emplace(config, device::DType::f64, params::Gradients::none, arena_);
    model_->parameters().initialize(stream_, 1);
  }

  support::TemporaryFolder folder_;
  corpus::Tokenizer tokenizer_ = corpus::Tokenizer::byte_level();
  std::optional<corpus::Haystack> haystack_;
  Stream stream_;
  device::Arena arena_;
  std::optional<model::Model> model_;
};

/// From the deepest needle to the shallowest most of the prompt is kept in the cache: the answers
/// must be those of a reader that has seen nothing.
TEST_F(NeedleReading, SharedBeginningsDoNotChangeAnswers) {
  const corpus::NeedleWriter writer(tokenizer_);
  const NeedleTrials trials{corpus::NeedleSplit::test, 7, 400};
  NeedleReader shared(*model_, tokenizer_, 2, 400, arena_);
  for (const double depth : {1.0, 0.5, 0.25, 0.75, 0.0}) {
    std::vector<NeedleQuestion> questions;
    for (std::int64_t trial = 0; trial < 2; ++trial) {
      questions.push_back(ask(writer, *haystack_, trials, trial, depth,
                              needle_of(trials, trial, static_cast<std::int64_t>(4 * depth))));
    }
    device::Arena arena;
    NeedleReader fresh(*model_, tokenizer_, 2, 400, arena);
    AttentionRows rows(*model_, 2, 400, arena);
    double weight = 0.0;
    int blocks = 0;
    const auto visitor = rows.visitor(stream_, [&](const AttentionRow& row) {
      EXPECT_EQ(row.keys, 400);
      EXPECT_NEAR(weight_on(row.of(1, 1), {0, 400}), 1.0, 1e-12);
      weight += weight_on(row.of(0, 0), questions[0].prompt.needle);
      EXPECT_GT(weight_on(row.of(0, 0), questions[0].prompt.digits), 0.0);
      ++blocks;
    });
    std::int64_t told = 0;
    const auto progress = [&](std::int64_t positions) { told += positions; };
    EXPECT_EQ(shared.answer(stream_, questions, {}, progress),
              fresh.answer(stream_, questions, visitor));
    EXPECT_EQ(told, 400);  // of each prompt, those in the cache too
    EXPECT_EQ(blocks, 2);
    EXPECT_GT(weight, 0.0);
  }
}

TEST(AttentionSpread, EntropyOfEvenAndOfSharpRows) {
  const std::vector<double> even(8, 0.125);
  EXPECT_NEAR(spread_of(even).entropy, std::log(8.0), 1e-12);
  EXPECT_EQ(spread_of(even).maximum, 0.125);
  EXPECT_EQ(spread_of(std::vector<double>{0.0, 1.0, 0.0}).entropy, 0.0);
  // Weights that do not sum to one: shares of one half.
  const RowSpread half = spread_of(std::vector<double>{0.25, -0.25});
  EXPECT_NEAR(half.entropy, std::log(2.0), 1e-12);
  EXPECT_EQ(half.sum, 0.0);
  EXPECT_EQ(spread_of(std::vector<double>(3, 0.0)).entropy, 0.0);
}

TEST(LogFit, ErrorsFollowTheResiduals) {
  std::vector<double> table;
  for (int n = 1; n <= 50; ++n) table.push_back(0.7 * std::log(n) + 0.1);
  const LogFitReport exact = fit_log(table);
  EXPECT_NEAR(exact.slope, 0.7, 1e-12);
  EXPECT_NEAR(exact.slope_error, 0.0, 1e-9);
  EXPECT_NEAR(exact.r_squared, 1.0, 1e-12);
  // Two points of three off the line: n = 1, 2, 4 have ln n in equal steps, residuals 1, -2, 1
  // sixths of the second difference.
  const LogFitReport rough = fit_log(std::vector<double>{0.0, 1.0});
  EXPECT_NEAR(rough.slope, 1.0 / std::log(2.0), 1e-12);
  table[24] += 1.0;
  const LogFitReport bent = fit_log(table);
  EXPECT_NEAR(bent.root_mean_square, std::sqrt((1.0 - 1.0 / 50) / 50), 5e-3);
  EXPECT_GT(bent.slope_error, 0.01);
  EXPECT_LT(std::abs(bent.slope - 0.7), 2 * bent.slope_error);
}

}  // namespace
}  // namespace ssmax::evaluation
