#include "model/parameter_layout.h"

#include <cmath>
#include <string>

namespace ssmax::model {

namespace {

using kernels::NormalizerParameter;
using params::Init;
using params::ParameterSpec;
using params::Shape;

struct Rows {
  std::string name;
  std::int64_t count;
};

/// Lists the specs in order and hands out their indices.
class LayoutBuilder {
 public:
  LayoutBuilder(const ModelConfig& config, std::vector<ParameterSpec>& specs)
      : config_(config), specs_(specs) {}

  void enter_section(int section) { section_ = section; }

  int add(const std::string& name, const Shape& shape, Init init, bool packed = false) {
    specs_.push_back({name, shape, init, section_, packed});
    return static_cast<int>(specs_.size()) - 1;
  }

  /// A parameter that kernels read in full precision.
  int add_exact(const std::string& name, const Shape& shape, Init init) {
    const int index = add(name, shape, init);
    specs_.back().exact = true;
    return index;
  }

  NormParameters norm(const std::string& name) {
    const Shape shape{config_.hidden_size};
    NormParameters result;
    result.weight = add(name + ".weight", shape, {Init::Kind::constant, 1.0});
    if (config_.bias && config_.norm == NormKind::layer_norm) {
      result.bias = add(name + ".bias", shape, {Init::Kind::constant, 0.0});
    }
    return result;
  }

  /// Matrices of `rows` on top of each other, all with `inputs` columns.
  LinearParameters linear(const std::string& prefix, const std::vector<Rows>& rows,
                          std::int64_t inputs, double deviation) {
    LinearParameters result;
    result.packed = static_cast<int>(rows.size());
    for (const Rows& part : rows) {
      const bool first = result.weight == kAbsent;
      const int index = add(prefix + part.name + ".weight", Shape{part.count, inputs},
                            {Init::Kind::normal, deviation}, !first);
      if (first) result.weight = index;
    }
    if (!config_.bias) return result;
    for (const Rows& part : rows) {
      const bool first = result.bias == kAbsent;
      const int index =
          add(prefix + part.name + ".bias", Shape{part.count}, {Init::Kind::constant, 0.0}, !first);
      if (first) result.bias = index;
    }
    return result;
  }

 private:
  const ModelConfig& config_;
  std::vector<ParameterSpec>& specs_;
  int section_ = 0;
};

Init init_of(const NormalizerParameter& parameter) {
  if (parameter.init == NormalizerParameter::Init::log_length) {
    return {Init::Kind::log_length, parameter.value};
  }
  return {Init::Kind::constant, parameter.value};
}

BlockParameters add_block(LayoutBuilder& builder, const ModelConfig& config,
                          const std::string& prefix) {
  const std::int64_t c = config.hidden_size;
  const std::int64_t key_value_rows = config.key_value_heads() * config.head_size();
  const double deviation = config.initializer_range;
  const double residual_deviation =
      deviation / std::sqrt(2.0 * static_cast<double>(config.num_hidden_layers));
  const std::string attention = prefix + "self_attn.";
  const std::string mlp = prefix + "mlp.";

  BlockParameters block;
  block.attention_norm = builder.norm(prefix + "input_layernorm");
  block.qkv = builder.linear(
      attention, {{"q_proj", c}, {"k_proj", key_value_rows}, {"v_proj", key_value_rows}}, c,
      deviation);
  block.attention_output = builder.linear(attention, {{"o_proj", c}}, c, residual_deviation);
  block.mlp_norm = builder.norm(prefix + "post_attention_layernorm");
  const std::int64_t f = config.intermediate_size;
  const std::vector<Rows> input = config.mlp == MlpKind::swiglu
                                      ? std::vector<Rows>{{"gate_proj", f}, {"up_proj", f}}
                                      : std::vector<Rows>{{"up_proj", f}};
  block.mlp_input = builder.linear(mlp, input, c, deviation);
  block.mlp_output = builder.linear(mlp, {{"down_proj", c}}, f, residual_deviation);
  return block;
}

}  // namespace

ParameterLayout make_parameter_layout(const ModelConfig& config,
                                      const std::vector<NormalizerParameter>& normalizer) {
  ParameterLayout layout;
  LayoutBuilder builder(config, layout.specs);
  const Init matrix{Init::Kind::normal, config.initializer_range};
  const std::int64_t c = config.hidden_size;

  layout.token_embedding =
      builder.add("model.embed_tokens.weight", Shape{config.vocab_size, c}, matrix);
  if (config.position.kind == PositionKind::learned) {
    layout.position_embedding = builder.add("model.embed_positions.weight",
                                            Shape{config.max_position_embeddings, c}, matrix);
  }
  std::vector<int> shared(normalizer.size(), kAbsent);
  for (std::size_t i = 0; i < normalizer.size(); ++i) {
    if (normalizer[i].owner != NormalizerParameter::Owner::length) continue;
    shared[i] = builder.add_exact("model.normalizer." + normalizer[i].name,
                                  Shape{config.max_position_embeddings}, init_of(normalizer[i]));
  }

  for (int index = 0; index < config.num_hidden_layers; ++index) {
    builder.enter_section(layout.section_of_block(index));
    const std::string prefix = "model.layers." + std::to_string(index) + ".";
    BlockParameters block = add_block(builder, config, prefix);
    for (std::size_t i = 0; i < normalizer.size(); ++i) {
      const bool per_head = normalizer[i].owner == NormalizerParameter::Owner::head;
      block.normalizer.push_back(
          per_head ? builder.add_exact(prefix + "self_attn.normalizer." + normalizer[i].name,
                                       Shape{config.heads()}, init_of(normalizer[i]))
                   : shared[i]);
    }
    layout.blocks.push_back(std::move(block));
  }

  builder.enter_section(layout.section_of_head());
  layout.final_norm = builder.norm("model.norm");
  layout.output = config.tie_word_embeddings
                      ? layout.token_embedding
                      : builder.add("lm_head.weight", Shape{config.vocab_size, c}, matrix);
  layout.specs[static_cast<std::size_t>(layout.output)].padded_rows =
      padded_vocabulary(config.vocab_size);
  return layout;
}

}  // namespace ssmax::model
