#pragma once

#include <array>
#include <cstdint>
#include <tuple>

#include "base/config.h"
#include "normalizers/registry.h"

namespace ssmax::model {

enum class MlpKind : std::uint8_t { swiglu, gelu };
constexpr auto enum_names(MlpKind) {
  return std::to_array<base::EnumName<MlpKind>>(
      {{MlpKind::swiglu, "swiglu"}, {MlpKind::gelu, "gelu"}});
}

enum class NormKind : std::uint8_t { rms_norm, layer_norm };
constexpr auto enum_names(NormKind) {
  return std::to_array<base::EnumName<NormKind>>(
      {{NormKind::rms_norm, "rms_norm"}, {NormKind::layer_norm, "layer_norm"}});
}

enum class PositionKind : std::uint8_t { rope, learned, alibi, none };
constexpr auto enum_names(PositionKind) {
  return std::to_array<base::EnumName<PositionKind>>({{PositionKind::rope, "rope"},
                                                      {PositionKind::learned, "learned"},
                                                      {PositionKind::alibi, "alibi"},
                                                      {PositionKind::none, "none"}});
}

struct PositionConfig {
  PositionKind kind = PositionKind::rope;
  double theta = 10000.0;

  static constexpr auto fields() {
    return std::tuple(
        base::field("kind", &PositionConfig::kind, "How attention knows positions"),
        base::field("theta", &PositionConfig::theta,
                    "Base of the RoPE angles; multiply it to test beyond the training length",
                    base::above(0)));
  }
};

/// The architecture: everything that decides the shapes and the function of a checkpoint.
struct ModelConfig {
  std::int64_t vocab_size = 50257;
  std::int64_t num_hidden_layers = 12;
  std::int64_t num_attention_heads = 12;
  std::int64_t num_key_value_heads = 0;
  std::int64_t hidden_size = 768;
  std::int64_t intermediate_size = 2048;
  std::int64_t max_position_embeddings = 0;
  MlpKind mlp = MlpKind::swiglu;
  NormKind norm = NormKind::rms_norm;
  double norm_eps = 1e-5;
  PositionConfig position;
  bool tie_word_embeddings = false;
  bool bias = false;
  double initializer_range = 0.02;
  base::KindSection normalizer{&normalizers::normalizer_kinds, "softmax"};

  std::int64_t heads() const { return num_attention_heads; }
  std::int64_t key_value_heads() const {
    return num_key_value_heads == 0 ? num_attention_heads : num_key_value_heads;
  }
  std::int64_t head_size() const { return hidden_size / num_attention_heads; }
  /// Heads in a row of the fused QKV buffer.
  std::int64_t qkv_heads() const { return heads() + 2 * key_value_heads(); }

  void validate() const;

  static constexpr auto fields() {
    using M = ModelConfig;
    using base::at_least;
    using base::field;
    return std::tuple(
        field("vocab_size", &M::vocab_size, "Token ids, end of text included", at_least(2)),
        field("num_hidden_layers", &M::num_hidden_layers, "Blocks", at_least(1),
              base::at_most(10000)),
        field("num_attention_heads", &M::num_attention_heads, "Query heads of a block",
              at_least(1)),
        field("num_key_value_heads", &M::num_key_value_heads,
              "Key and value heads (grouped-query attention); 0 = as many as query heads",
              at_least(0)),
        field("hidden_size", &M::hidden_size, "Width of the residual stream", at_least(1)),
        field("intermediate_size", &M::intermediate_size, "Width inside the MLP", at_least(1)),
        field("max_position_embeddings", &M::max_position_embeddings,
              "Rows of the learned positions and of learned_length's table; 0 = "
              "data.sequence_length",
              at_least(0)),
        field("mlp", &M::mlp, "swiglu has three matrices, gelu two"),
        field("norm", &M::norm, "Normalization before attention and MLP"),
        field("norm_eps", &M::norm_eps, "Added to the variance", base::above(0)),
        field("position", &M::position, "Positions"),
        field("tie_word_embeddings", &M::tie_word_embeddings,
              "The output layer is the token embedding"),
        field("bias", &M::bias, "Biases in linear layers and layer norms, as in GPT-2"),
        field("initializer_range", &M::initializer_range,
              "Standard deviation of the initial weights; residual projections get it divided by "
              "sqrt(2 layers)",
              base::above(0)),
        field("normalizer", &M::normalizer,
              "What turns attention scores into weights; `ssmax normalizers` lists the kinds"));
  }
};

/// What a table of FLOPs needs to know of a model.
struct FlopCount {
  std::int64_t matmul_parameters = 0;  ///< weights that multiply activations
  double attention_per_token = 0.0;    ///< both matmuls of attention, forward, causal rows full

  /// Forward and backward of one token by the usual rule 6 N + 6 L C T.
  double training_per_token() const {
    return 6.0 * static_cast<double>(matmul_parameters) + 3.0 * attention_per_token;
  }
};

FlopCount count_flops(const ModelConfig& config, std::int64_t sequence_length);

}  // namespace ssmax::model
