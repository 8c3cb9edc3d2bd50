#include "model/model.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/random.h"
#include "model/generation.h"
#include "model/golden_fixture.h"

namespace ssmax::model {
namespace {

ModelConfig small_config(const std::string& normalizer) {
  return base::parse_config<ModelConfig>(
      R"({"vocab_size": 97, "num_hidden_layers": 3, "num_attention_heads": 4,
          "num_key_value_heads": 2, "hidden_size": 32, "intermediate_size": 48,
          "max_position_embeddings": 40})",
      "test", {"--normalizer.kind=" + normalizer});
}

std::vector<std::int32_t> random_tokens(std::int64_t count, std::uint64_t seed) {
  std::vector<std::int32_t> tokens;
  for (std::int64_t i = 0; i < count; ++i) {
    tokens.push_back(
        static_cast<std::int32_t>(base::random_bits(seed, 1, static_cast<std::uint64_t>(i)) % 97));
  }
  return tokens;
}

struct Trained {
  std::vector<double> losses;
  std::vector<std::byte> gradients;
};

Trained run_once(DType dtype, Recompute recompute, const std::string& normalizer) {
  const ModelConfig config = small_config(normalizer);
  Stream stream;
  Arena arena;
  const Model model(config, dtype, params::Gradients::allocate, arena);
  model.parameters().initialize(stream, 11);
  ActivationOptions options;
  options.batch = 2;
  options.length = 40;
  options.dtype = dtype;
  options.recompute = recompute;
  Activations activations(config, model.attention_row_values(), options, arena);
  const std::vector<std::int32_t> tokens = random_tokens(80, 3);
  const std::vector<std::int32_t> targets = random_tokens(80, 4);
  TokenBatch batch;
  batch.tokens = device::view(tokens.data(), {2, 40});
  batch.targets = device::view(targets.data(), {2, 40});
  std::vector<int> sections;
  model.forward_for_training(stream, activations, batch, 1.0 / 80);
  model.backward(stream, activations, batch, [&](int section) { sections.push_back(section); });
  EXPECT_EQ(sections, (std::vector<int>{4, 3, 2, 1, 0}));
  const Tensor gradients = model.parameters().flat_gradients();
  const Tensor behind =
      model.parameters().padded_gradient(model.parts().layout.output).rows(97, 31);
  EXPECT_EQ(values_of(behind), std::vector<double>(31 * 32, 0.0)) << "behind the vocabulary";
  Trained result{values_of(activations.losses), {}};
  result.gradients.resize(static_cast<std::size_t>(gradients.bytes()));
  std::memcpy(result.gradients.data(), gradients.raw(), result.gradients.size());
  return result;
}

TEST(Recompute, BlockGivesTheSameBits) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    for (const char* kind : {"softmax", "ssmax", "self_adjust", "sink"}) {
      const Trained kept = run_once(dtype, Recompute::none, kind);
      const Trained again = run_once(dtype, Recompute::block, kind);
      EXPECT_EQ(kept.losses, again.losses) << kind << " " << device::name_of(dtype);
      EXPECT_EQ(kept.gradients, again.gradients) << kind << " " << device::name_of(dtype);
    }
  }
}

/// Logits of a few rows at a time, and the same sequences with and without a backward to come.
TEST(Model, ChunksOfLogitsAndTrainingDoNotChangeTheLoss) {
  const ModelConfig config = small_config("ssmax");
  Stream stream;
  Arena arena;
  const Model model(config, DType::f64, params::Gradients::allocate, arena);
  model.parameters().initialize(stream, 11);
  ActivationOptions options;
  options.batch = 2;
  options.length = 40;
  options.dtype = DType::f64;
  Activations activations(config, model.attention_row_values(), options, arena);
  const std::vector<std::int32_t> tokens = random_tokens(80, 3);
  const std::vector<std::int32_t> targets = random_tokens(80, 4);
  std::vector<std::int32_t> first_key(80);
  std::fill(first_key.begin() + 7, first_key.begin() + 40, 7);  // where a document begins
  const TokenBatch batch{device::view(tokens.data(), {2, 40}),
                         device::view(targets.data(), {2, 40}),
                         device::view(std::as_const(first_key).data(), {2, 40})};
  const auto gradients = [&] {
    device::fill_zero(stream, model.parameters().flat_gradients());
    model.forward_for_training(stream, activations, batch, 1.0 / 80);
    return values_of(model.parameters().gradient(model.parts().layout.output));
  };
  const auto expect_near = [](const std::vector<double>& found, const std::vector<double>& wanted) {
    ASSERT_EQ(found.size(), wanted.size());
    // Doubles; matrices of other shapes may be added up in another order.
    for (std::size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(found[i], wanted[i], 1e-13);
  };
  const std::vector<double> whole = gradients();
  const std::vector<double> losses = values_of(activations.losses);
  activations.logits = activations.logits.rows(0, 32);
  expect_near(gradients(), whole);
  expect_near(values_of(activations.losses), losses);
  std::vector<std::int64_t> rows;
  model.forward(stream, activations, batch,
                [&](std::int64_t first, const ConstTensor&) { rows.push_back(first); });
  expect_near(values_of(activations.losses), losses);
  EXPECT_EQ(rows, (std::vector<std::int64_t>{0, 32, 64}));
  EXPECT_EQ(logits_rows({}, 4096, 1 << 16), 1024);
  EXPECT_EQ(logits_rows({}, 100, 1 << 16), 100);
}

TEST(Recompute, BlockTakesLessMemory) {
  const ModelConfig config = small_config("ssmax");
  const auto planned = [&](Recompute recompute) {
    Arena arena({}, device::ArenaMode::plan);
    ActivationOptions options;
    options.batch = 2;
    options.length = 40;
    options.recompute = recompute;
    const Activations activations(config, 4, options, arena);
    return arena.bytes();
  };
  EXPECT_LT(planned(Recompute::block), planned(Recompute::none));
}

/// Logits of position t must not depend on how the tokens before it were fed.
TEST(KvDecoder, AgreesWithTheFullForward) {
  for (const char* kind : {"softmax", "ssmax", "self_adjust", "learned_length", "temperature"}) {
    const ModelConfig config = small_config(kind);
    Stream stream;
    Arena arena;
    const Model model(config, DType::f64, params::Gradients::none, arena);
    model.parameters().initialize(stream, 5);
    const std::vector<std::int32_t> tokens = random_tokens(2 * 30, 9);  // (B, T) = (2, 30)

    KvDecoder at_once(model, 2, 40, arena, 16);
    std::vector<std::int64_t> passes;
    const auto full = at_once.feed(stream, tokens, {},
                                   [&](std::int64_t positions) { passes.push_back(positions); });
    EXPECT_EQ(passes, (std::vector<std::int64_t>{16, 4, 4, 4, 1, 1}));
    const std::vector<float> expected(full.begin(), full.end());

    KvDecoder one_by_one(model, 2, 40, arena);
    std::vector<float> found;
    for (std::size_t t = 0; t < 30; ++t) {
      const std::vector<std::int32_t> next = {tokens[t], tokens[30 + t]};
      const auto logits = one_by_one.feed(stream, next);
      found.assign(logits.begin(), logits.end());
    }
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(found[i], expected[i], 1e-6) << kind;  // f64 inside, f32 logits
    }
    EXPECT_THROW(one_by_one.feed(stream, random_tokens(2 * 11, 1)), base::Error);
    EXPECT_THROW(one_by_one.rewind(31), base::Error);
  }
}

TEST(KvDecoder, IsNoLongerThanTheLearnedPositions) {
  ModelConfig config = small_config("softmax");
  config.position.kind = PositionKind::learned;
  config.max_position_embeddings = 8;
  device::Arena arena;
  const Model model(config, DType::f32, params::Gradients::none, arena);
  KvDecoder(model, 1, 8, arena);
  EXPECT_THROW(KvDecoder(model, 1, 9, arena), base::Error);
}

/// Cross-entropy of the decoder's logits must be the loss that forward() reports.
TEST(KvDecoder, GivesTheLossesOfForward) {
  const ModelConfig config = small_config("ssmax");
  Stream stream;
  Arena arena;
  const Model model(config, DType::f64, params::Gradients::none, arena);
  model.parameters().initialize(stream, 6);
  const std::vector<std::int32_t> tokens = random_tokens(21, 2);
  ActivationOptions options;
  options.length = 20;
  options.dtype = DType::f64;
  options.purpose = Purpose::evaluation;
  Activations activations(config, model.attention_row_values(), options, arena);
  TokenBatch batch;
  batch.tokens = device::view(tokens.data(), {1, 20});
  batch.targets = device::view(tokens.data() + 1, {1, 20});
  model.forward(stream, activations, batch);
  const std::vector<double> losses = values_of(activations.losses);

  KvDecoder decoder(model, 1, 20, arena);
  for (std::size_t t = 0; t < 20; ++t) {
    const auto logits = decoder.feed(stream, std::span(&tokens[t], 1));
    double sum = 0.0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
    const double target = logits[static_cast<std::size_t>(tokens[t + 1])];
    EXPECT_NEAR(std::log(sum) - target, losses[t], 1e-5);
  }
}

TEST(Sampling, FollowsTemperatureTopKAndTopP) {
  const std::vector<float> logits = {1.0F, 3.0F, 3.0F, 0.0F};
  SamplingOptions options;
  options.temperature = 0.0;
  EXPECT_EQ(sample_token(logits, options, 0), 1);  // the first of equals
  options.temperature = 1.0;
  options.top_k = 2;
  int counts[4] = {};
  for (std::uint64_t i = 0; i < 2000; ++i) ++counts[sample_token(logits, options, i)];
  EXPECT_EQ(counts[0] + counts[3], 0);
  EXPECT_NEAR(counts[1], 1000, 100);  // over four standard deviations
  options.top_k = 0;
  options.top_p = 0.4;  // the first token alone reaches it
  for (std::uint64_t i = 0; i < 50; ++i) EXPECT_EQ(sample_token(logits, options, i), 1);
  EXPECT_EQ(sample_token(logits, options, 7), sample_token(logits, options, 7));

  // Six of ten parts for the two that reach top_p: half of the draws for each.
  const auto third = static_cast<float>(-std::log(3.0));
  const std::vector<float> even = {0.0F, 0.0F, third, third, third, third};
  options.top_p = 0.5;
  int first = 0;
  bool seeds_differ = false;
  for (std::uint64_t i = 0; i < 2000; ++i) {
    options.seed = 1;
    const std::int32_t token = sample_token(even, options, i);
    ASSERT_LT(token, 2);
    first += token == 0 ? 1 : 0;
    options.seed = 2;
    seeds_differ = seeds_differ || sample_token(even, options, i) != token;
  }
  EXPECT_NEAR(first, 1000, 100);
  EXPECT_TRUE(seeds_differ);
}

TEST(ParameterLayout, PaperModelHas162MParameters) {
  ModelConfig config;
  Arena arena({}, device::ArenaMode::plan);
  const Model model(config, DType::bf16, params::Gradients::none, arena);
  EXPECT_EQ(model.parameters().parameter_elements(), 162148608);
  EXPECT_EQ(count_flops(config, 1024).matmul_parameters, 162148608 - 50257 * 768 - 25 * 768);
}

TEST(ParameterLayout, ResidualProjectionsStartSmallerTheMoreLayersThereAre) {
  const ModelConfig config = small_config("ssmax");
  Arena arena({}, device::ArenaMode::plan);
  const Model model(config, DType::f32, params::Gradients::none, arena);
  for (const params::ParameterSpec& spec : model.parameters().specs()) {
    if (spec.init.kind != params::Init::Kind::normal) continue;
    const bool residual =
        spec.name.ends_with("o_proj.weight") || spec.name.ends_with("down_proj.weight");
    EXPECT_DOUBLE_EQ(spec.init.value, residual ? 0.02 / std::sqrt(6.0) : 0.02) << spec.name;
    for (int block = 0; block < 3; ++block) {
      if (spec.name.starts_with("model.layers." + std::to_string(block))) {
        EXPECT_EQ(spec.section, model.parts().layout.section_of_block(block)) << spec.name;
      }
    }
  }
}

TEST(ModelConfig, ChecksWhatBelongsTogether) {
  const auto parse = [](const char* text) { base::parse_config<ModelConfig>(text, "test"); };
  EXPECT_THROW(parse(R"({"hidden_size": 30, "num_attention_heads": 4})"), base::Error);
  EXPECT_THROW(parse(R"({"num_attention_heads": 12, "num_key_value_heads": 5})"), base::Error);
  EXPECT_THROW(parse(R"({"hidden_size": 36, "num_attention_heads": 12})"), base::Error);
}

TEST(Alibi, SlopesOfPowersOfTwoAndOthers) {
  const std::vector<double> eight = alibi_slopes(8);
  EXPECT_DOUBLE_EQ(eight.front(), 0.5);
  EXPECT_DOUBLE_EQ(eight.back(), 1.0 / 256);
  const std::vector<double> six = alibi_slopes(6);
  ASSERT_EQ(six.size(), 6U);
  EXPECT_DOUBLE_EQ(six[4], std::exp2(-1.0));
  EXPECT_DOUBLE_EQ(six[5], std::exp2(-3.0));
}

}  // namespace
}  // namespace ssmax::model
