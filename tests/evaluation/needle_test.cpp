#include "evaluation/needle.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <optional>
#include <set>

#include "evaluation/attention_rows.h"
#include "evaluation/log_fit.h"
#include "evaluation/needle_search.h"
#include "evaluation/small_model.h"

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
    std::ofstream text(small_.folder / "long.txt");
    for (int i = 0; i < 200; ++i) text << "It was day " << i << " of the voyage. We saw no land.";
    text.close();
    haystack_.emplace(std::vector<std::string>{small_.folder.name("long.txt")}, tokenizer_);
  }

  SmallModel small_{257};
  model::Model& model_ = small_.model;
  Stream& stream_ = small_.stream;
  corpus::Tokenizer tokenizer_ = corpus::Tokenizer::byte_level();
  std::optional<corpus::Haystack> haystack_;
};

/// From the deepest needle to the shallowest most of the prompt is kept in the cache: the answers
/// must be those of a reader that has seen nothing.
TEST_F(NeedleReading, SharedBeginningsDoNotChangeAnswers) {
  const corpus::NeedleWriter writer(tokenizer_);
  const NeedleTrials trials{corpus::NeedleSplit::test, 7, 400};
  device::Arena shared_arena;
  NeedleReader shared(model_, tokenizer_, 2, 400, shared_arena);
  std::vector<NeedleQuestion> questions;
  for (const double depth : {1.0, 0.5, 0.25, 0.75, 0.0}) {
    questions.clear();
    for (std::int64_t trial = 0; trial < 2; ++trial) {
      questions.push_back(ask(writer, *haystack_, trials, trial, depth,
                              needle_of(trials, trial, static_cast<std::int64_t>(4 * depth))));
    }
    device::Arena arena;
    NeedleReader fresh(model_, tokenizer_, 2, 400, arena);
    AttentionRows rows(model_, 2, 400, arena);
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
  // The same again; then the second prompt alone is another.
  EXPECT_EQ(shared.answer(stream_, questions), shared.answer(stream_, questions));
  questions[1] = ask(writer, *haystack_, trials, 1, 0.75, needle_of(trials, 1, 3));
  device::Arena fresh_arena;
  NeedleReader fresh(model_, tokenizer_, 2, 400, fresh_arena);
  EXPECT_EQ(shared.answer(stream_, questions), fresh.answer(stream_, questions));
}

TEST(Needle, EveryTrialDepthAndContextHasItsOwn) {
  std::set<std::int64_t> numbers;
  for (const std::int64_t context : {400, 800}) {
    for (std::int64_t depth = 0; depth < 3; ++depth) {
      for (std::int64_t trial = 0; trial < 3; ++trial) {
        const NeedleTrials trials{corpus::NeedleSplit::test, 7, context};
        const corpus::Needle needle = needle_of(trials, trial, depth);
        EXPECT_EQ(corpus::split_of_number(needle.number), corpus::NeedleSplit::test);
        numbers.insert(needle.number);
      }
    }
  }
  EXPECT_EQ(numbers.size(), 18U);
}

/// Against readers that see one prompt each.
TEST_F(NeedleReading, CellsDoNotDependOnWhatIsReadTogether) {
  const NeedleTrials trials{corpus::NeedleSplit::test, 7, 300, 4, 2};
  const std::vector<double> depths = {0.0, 0.5, 1.0};
  NeedleSearch search(model_, tokenizer_, *haystack_, trials);
  std::int64_t told = 0;
  const std::vector<NeedleCell> cells =
      search.at_depths(stream_, depths, [&](std::int64_t tokens) { told += tokens; });
  EXPECT_EQ(told, 4 * 3 * 300);
  ASSERT_EQ(cells.size(), 3U);
  const corpus::NeedleWriter writer(tokenizer_);
  for (std::size_t d = 0; d < depths.size(); ++d) {
    NeedleCell alone{300, depths[d], 0, 0, 0, {}};
    for (std::int64_t trial = 0; trial < 4; ++trial) {
      const corpus::Needle needle = needle_of(trials, trial, static_cast<std::int64_t>(d));
      device::Arena arena;
      NeedleReader reader(model_, tokenizer_, 1, 300, arena);
      const NeedleQuestion question = ask(writer, *haystack_, trials, trial, depths[d], needle);
      alone.add(needle, reader.answer(stream_, {&question, 1}).front());
    }
    EXPECT_EQ(cells[d].depth, depths[d]);
    EXPECT_EQ(cells[d].trials, 4);
    EXPECT_EQ(cells[d].exact, alone.exact);
    EXPECT_EQ(cells[d].first_digit, alone.first_digit);
    EXPECT_EQ(cells[d].samples, alone.samples);
  }
}

TEST_F(NeedleReading, AttentionIsOfTheTrialsOwnNeedle) {
  small_.attend_evenly();
  const NeedleTrials trials{corpus::NeedleSplit::test, 7, 300, 4, 2};
  const auto hide = [&](std::int64_t trial) {
    return HiddenNeedle{needle_of(trials, trial, 0), 0.25 * static_cast<double>(trial)};
  };
  NeedleSearch search(model_, tokenizer_, *haystack_, trials);
  const std::vector<NeedleAttention> found =
      search.attention(stream_, hide, [](std::int64_t /*tokens*/) {});
  ASSERT_EQ(found.size(), 4U);
  const corpus::NeedleWriter writer(tokenizer_);
  for (std::int64_t trial = 0; trial < 4; ++trial) {
    const NeedleAttention& one = found[static_cast<std::size_t>(trial)];
    const HiddenNeedle hidden = hide(trial);
    EXPECT_EQ(one.hidden.needle.number, hidden.needle.number);
    EXPECT_EQ(one.hidden.depth, hidden.depth);
    const corpus::NeedlePrompt prompt =
        ask(writer, *haystack_, trials, trial, hidden.depth, hidden.needle).prompt;
    ASSERT_EQ(one.needle.size(), 4U);  // layers * H
    ASSERT_EQ(one.digits.size(), 4U);
    for (std::size_t h = 0; h < 4; ++h) {
      EXPECT_NEAR(one.needle[h] * 300, static_cast<double>(prompt.needle.end - prompt.needle.begin),
                  1e-9);
      EXPECT_NEAR(one.digits[h] * 300, static_cast<double>(prompt.digits.end - prompt.digits.begin),
                  1e-9);
    }
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
  // By the formulas of simple regression over ln n, computed apart.
  const LogFitReport four = fit_log(std::vector<double>{0.0, 1.0, 1.0, 2.0});
  EXPECT_NEAR(four.slope_error, 0.323870740752087, 1e-14);
  EXPECT_NEAR(four.offset_error, 0.307643708133929, 1e-14);
  EXPECT_NEAR(four.r_squared, 0.886275029284704, 1e-14);
  table[24] += 1.0;
  const LogFitReport bent = fit_log(table);
  EXPECT_NEAR(bent.root_mean_square, std::sqrt((1.0 - 1.0 / 50) / 50), 5e-3);
  EXPECT_GT(bent.slope_error, 0.01);
  EXPECT_LT(std::abs(bent.slope - 0.7), 2 * bent.slope_error);
}

}  // namespace
}  // namespace ssmax::evaluation
