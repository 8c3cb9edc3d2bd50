#include "checkpoint/hugging_face/config.h"

#include <gtest/gtest.h>

#include "checkpoint/checkpoint_fixture.h"

namespace ssmax::checkpoint::hugging_face {
namespace {

constexpr char kLlama[] =
    R"("model_type": "llama", "vocab_size": 100, "hidden_size": 64, "num_hidden_layers": 2,
       "num_attention_heads": 4, "intermediate_size": 96, "max_position_embeddings": 32)";
constexpr char kGpt2[] =
    R"("model_type": "gpt2", "vocab_size": 100, "n_embd": 64, "n_layer": 2, "n_head": 4,
       "n_positions": 32)";

/// The error for the config with one more member; "" for none.
std::string error_with(const char* base, const std::string& member) {
  const std::string text = std::string("{") + base + (member.empty() ? "" : ", ") + member + "}";
  return checkpoint_error([&] { parse_config_json(text, "config.json"); });
}

void expect_refused(const char* base, const std::string& member, const std::string& word) {
  EXPECT_NE(error_with(base, member).find(word), std::string::npos)
      << member << " -> " << error_with(base, member);
}

TEST(HuggingFaceConfig, reads_what_public_models_say) {
  EXPECT_EQ(error_with(kLlama, ""), "");
  EXPECT_EQ(error_with(kLlama, R"("rope_scaling": null, "rope_theta": 500000.0, "head_dim": 16,
                                   "transformers_version": "4.40", "torch_dtype": "bfloat16",
                                   "_name_or_path": "x", "use_cache": true, "mlp_bias": false)"),
            "");
  EXPECT_EQ(error_with(kGpt2, R"("n_ctx": 32, "resid_pdrop": 0.1, "n_inner": null,
                                  "task_specific_params": {"a": 1}, "summary_type": "cls_index",
                                  "activation_function": "gelu_new")"),
            "");
  const std::string text = std::string("{") + kGpt2 + "}";
  const ForeignConfig gpt2 = parse_config_json(text, "config.json");
  EXPECT_EQ(gpt2.model.find("intermediate_size")->integer, 256);
  EXPECT_TRUE(gpt2.model.find("tie_word_embeddings")->boolean);
}

TEST(HuggingFaceConfig, refuses_by_name_what_our_models_do_not_compute) {
  expect_refused(kLlama, R"("rope_scaling": {"type": "linear", "factor": 2.0})",
                 "rope_scaling.type: RoPE scaling \"linear\" is not supported");
  expect_refused(kLlama, R"("rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4})",
                 "RoPE scaling \"yarn\"");
  expect_refused(kLlama, R"("rope_parameters": {"partial_rotary_factor": 0.5})",
                 "part of each head");
  expect_refused(kLlama, R"("rope_parameters": {"llama_4_scaling_beta": 0.1})", "is unknown");
  expect_refused(kLlama, R"("sliding_window": 4096)", "a sliding window is not supported");
  expect_refused(kLlama, R"("attention_bias": true)", "attention_bias: biases in attention");
  expect_refused(kLlama, R"("hidden_act": "gelu")", "expected \"silu\"");
  expect_refused(kLlama, R"("head_dim": 32)", "head_dim: expected 16");
  expect_refused(kLlama, R"("quantization_config": {"bits": 4})", "a quantized model");
  expect_refused(kLlama, R"("final_logit_softcapping": 30.0)", "is unknown");
  expect_refused(kLlama, R"("num_key_value_heads": 0)", "an integer from 1");
  expect_refused(kLlama, R"("rms_norm_eps": -1)", "a number above 0");
  expect_refused(kLlama, R"("tie_word_embeddings": 1)", "true or false");
  expect_refused(kLlama, R"("rope_theta": "1e4")", "a number above 0");
  expect_refused(kLlama, R"("vocab_size": 100)", "twice");
  expect_refused(kGpt2, R"("activation_function": "relu")", "expected \"gelu_new\"");
  expect_refused(kGpt2, R"("scale_attn_by_inverse_layer_idx": true)", "not supported");
  expect_refused(kGpt2, R"("scale_attn_weights": false)", "not supported");
  expect_refused(kGpt2, R"("n_inner": 1.5)", "an integer from 1");
}

TEST(HuggingFaceConfig, refuses_what_is_no_config) {
  const auto error_of_text = [](const std::string& text) {
    return checkpoint_error([&] { parse_config_json(text, "config.json"); });
  };
  EXPECT_NE(error_of_text(""), "");
  EXPECT_NE(error_of_text("[]").find("expected an object"), std::string::npos);
  EXPECT_NE(error_of_text("{}").find("model_type"), std::string::npos);
  EXPECT_NE(error_of_text(R"({"model_type": "bert"})").find("expected llama"), std::string::npos);
  EXPECT_NE(error_of_text(R"({"model_type": "llama"})").find("is missing"), std::string::npos);
  EXPECT_NE(error_of_text(std::string(100000, '{')), "");
  for (const char* number : {"1e400", "4294967297", "true", "1.9", "-3", "null", "\"2\""}) {
    const std::string text = R"({"model_type": "gpt2", "vocab_size": 100, "n_embd": 64,
        "n_head": 4, "n_positions": 32, "n_layer": )" +
                             std::string(number) + "}";
    EXPECT_NE(error_of_text(text), "") << number;
  }
}

}  // namespace
}  // namespace ssmax::checkpoint::hugging_face
