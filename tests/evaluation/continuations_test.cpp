#include "evaluation/continuations.h"

#include <gtest/gtest.h>

#include "base/errors.h"

namespace ssmax::evaluation {
namespace {

using Ids = std::vector<std::int32_t>;

TEST(Continuations, SpacesBelongToWhatFollows) {
  const corpus::Tokenizer bytes = corpus::Tokenizer::byte_level();
  const Continuation pair = encode_pair(bytes, "ab ", "c");
  EXPECT_EQ(pair.context, (Ids{'a', 'b'}));
  EXPECT_EQ(pair.tokens, (Ids{' ', 'c'}));
  const Continuation alone = encode_pair(bytes, "", "c");
  EXPECT_EQ(alone.context, Ids{bytes.end_of_text()});
  EXPECT_EQ(alone.tokens, Ids{'c'});
}

TEST(Continuations, HellaSwagIsCleanedAsTheHarnessDoes) {
  EXPECT_EQ(clean_hellaswag("  How to swim [title] Go in. [substeps] Wait.  Now [step"),
            "How to swim. Go in. Wait. Now [step");
  EXPECT_EQ(clean_hellaswag("a [b\nc] d"), "a [b\nc] d");
  EXPECT_EQ(clean_hellaswag(" "), "");
}

TEST(Continuations, LengthDecidesAccNorm) {
  const ChoiceQuestion question{"", {"abcdefgh", "ab", "\xC3\xA9\xC3\xA9\xC3\xA9"}, 0};
  const std::vector<ContinuationScore> scores = {{-4.0, false}, {-1.5, false}, {-2.0, false}};
  const Choice choice = choose(question, scores);
  EXPECT_EQ(choice.likeliest, 1U);
  EXPECT_EQ(choice.likeliest_per_character, 0U);  // -0.5; -0.75; -2 / 3 characters of two bytes
}

/// What is too long loses its beginning, and what is padded is not changed by it.
TEST(Continuations, ScoresDoNotDependOnTheOthers) {
  const auto config = base::parse_config<model::ModelConfig>(
      R"({"vocab_size": 31, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16,
          "intermediate_size": 20, "normalizer": {"kind": "ssmax"}})",
      "test");
  Stream stream;
  device::Arena arena;
  const model::Model model(config, device::DType::f64, params::Gradients::none, arena);
  model.parameters().initialize(stream, 1);
  std::vector<Continuation> all;
  for (std::int32_t i = 0; i < 9; ++i) {
    Continuation one;
    for (std::int32_t t = 0; t <= 5 * i; ++t) one.context.push_back((7 * t + i) % 31);
    for (std::int32_t t = 0; t <= i % 3; ++t) one.tokens.push_back((5 * t + i) % 31);
    all.push_back(one);
  }
  const auto quiet = [](std::int64_t) {};
  const auto together = score(stream, model, all, 24, quiet);
  for (std::size_t i = 0; i < all.size(); ++i) {
    Continuation cut = all[i];
    const auto most = static_cast<std::ptrdiff_t>(25 - cut.tokens.size());
    if (std::ssize(cut.context) > most) {
      cut.context.erase(cut.context.begin(), cut.context.end() - most);
    }
    const auto alone = score(stream, model, {&cut, 1}, 100, quiet);
    EXPECT_NEAR(alone[0].log_likelihood, together[i].log_likelihood, 1e-12) << i;
  }
  EXPECT_THROW(score(stream, model, {&all[8], 1}, 2, quiet), base::Error);
}

}  // namespace
}  // namespace ssmax::evaluation
