// Attention rows, greedy answers and likelihoods of small models against PyTorch in float64; the
// numbers are made by scripts/make_golden_evaluation.py.

#include <gtest/gtest.h>

#include "evaluation/attention_rows.h"
#include "evaluation/continuations.h"
#include "model/generation.h"
#include "model/golden_fixture.h"

namespace ssmax::evaluation {
namespace {

using device::DType;

constexpr std::size_t kPrompt = 12;
constexpr std::size_t kContext = 14;

class GoldenEvaluation : public ::testing::TestWithParam<std::string> {
 protected:
  GoldenEvaluation()
      : golden_(GetParam()),
        model_(golden_.config(), DType::f64, params::Gradients::none, arena_),
        expected_(std::filesystem::path(SSMAX_SOURCE_DIR) /
                  "tests/golden/evaluation/models.safetensors") {
    golden_.load_weights(stream_, model_, "weights/");
    tokens_ = golden_.integers("tokens");
    batch_ = std::ssize(tokens_) / golden_.length();
  }

  std::vector<double> expected(const std::string& what) const {
    const std::string name = GetParam() + "/" + what;
    const checkpoint::TensorInfo* info = expected_.find(name);
    if (info == nullptr) throw std::runtime_error("golden file lacks " + name);
    std::vector<std::byte> bytes(static_cast<std::size_t>(info->bytes()));
    expected_.read_bytes(*info, 0, bytes);
    return checkpoint::values_of(info->dtype, bytes);
  }

  /// Tokens [begin, end) of every sequence.
  std::vector<std::int32_t> part(std::int64_t begin, std::int64_t end) const {
    std::vector<std::int32_t> result;
    for (std::int64_t b = 0; b < batch_; ++b) {
      const auto row = tokens_.begin() + b * golden_.length();
      result.insert(result.end(), row + begin, row + end);
    }
    return result;
  }

  Stream stream_;
  device::Arena arena_;
  model::Golden golden_;
  model::Model model_;
  checkpoint::SafetensorsFile expected_;
  std::vector<std::int32_t> tokens_;  // (B, T)
  std::int64_t batch_ = 0;
};

TEST_P(GoldenEvaluation, AttentionRowsAgree) {
  const std::int64_t length = golden_.length();
  model::KvDecoder decoder(model_, batch_, length, arena_, 5);
  AttentionRows rows(model_, batch_, length, arena_);
  std::vector<double> found;
  decoder.feed(stream_, part(0, length - 1));
  decoder.feed(stream_, part(length - 1, length),
               rows.visitor(stream_, [&](const AttentionRow& row) {
                 EXPECT_EQ(row.keys, length);
                 found.insert(found.end(), row.weights.begin(), row.weights.end());
               }));
  const std::vector<double> wanted = expected("rows");
  ASSERT_EQ(found.size(), wanted.size());
  // Doubles through two layers; entmax bisects its threshold to 1e-12.
  for (std::size_t i = 0; i < wanted.size(); ++i) ASSERT_NEAR(found[i], wanted[i], 1e-10) << i;
}

TEST_P(GoldenEvaluation, GreedyAnswersAgree) {
  const std::vector<double> wanted = expected("greedy");
  const std::size_t steps = wanted.size() / static_cast<std::size_t>(batch_);
  model::KvDecoder decoder(model_, batch_, golden_.length(), arena_, 5);
  std::span<const float> logits = decoder.feed(stream_, part(0, kPrompt));
  const auto vocab = static_cast<std::size_t>(model_.config().vocab_size);
  for (std::size_t i = 0; i < steps; ++i) {
    std::vector<std::int32_t> next;
    for (std::size_t b = 0; b < static_cast<std::size_t>(batch_); ++b) {
      next.push_back(model::sample_token(logits.subspan(b * vocab, vocab), {.temperature = 0}, 0));
      EXPECT_EQ(next.back(), wanted[b * steps + i]);
    }
    if (i + 1 < steps) logits = decoder.feed(stream_, next);
  }
}

TEST_P(GoldenEvaluation, ContinuationsAgree) {
  const std::vector<double> wanted = expected("log_likelihood");
  const std::vector<double> greedy = expected("greedy");
  const auto length = static_cast<std::size_t>(golden_.length());
  const std::size_t steps = greedy.size() / wanted.size();
  std::vector<Continuation> continuations;
  for (std::size_t b = 0; b < wanted.size(); ++b) {
    const auto row = tokens_.begin() + static_cast<std::ptrdiff_t>(b * length);
    const auto middle = row + kContext;
    continuations.push_back({{row, middle}, {middle, row + static_cast<std::ptrdiff_t>(length)}});
    const auto answer = greedy.begin() + static_cast<std::ptrdiff_t>(b * steps);
    continuations.push_back(
        {{row, row + kPrompt}, {answer, answer + static_cast<std::ptrdiff_t>(steps)}});
  }
  std::int64_t done = 0;
  const auto scores = score(stream_, model_, continuations, golden_.length(),
                            [&](std::int64_t tokens) { done += tokens; });
  EXPECT_EQ(done, std::ssize(wanted) * static_cast<std::int64_t>(length - 1 + kPrompt + steps - 1));
  for (std::size_t b = 0; b < wanted.size(); ++b) {
    EXPECT_NEAR(scores[2 * b].log_likelihood, wanted[b], 1e-10);
    EXPECT_FALSE(scores[2 * b].greedy);
    EXPECT_TRUE(scores[2 * b + 1].greedy);
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenEvaluation,
                         ::testing::Values("softmax", "ssmax_bias", "ssmax_negative_scale",
                                           "learned_length", "self_adjust_plain",
                                           "self_adjust_normalized", "sink_ssmax", "sigmoid",
                                           "softpick", "temperature", "log_n", "entmax", "gpt2",
                                           "alibi_self_adjust", "grouped_queries"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace ssmax::evaluation
