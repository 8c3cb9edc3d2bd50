#include "checkpoint/hugging_face/names.h"

#include <algorithm>
#include <stdexcept>

#include "base/errors.h"

namespace ssmax::checkpoint::hugging_face {
namespace {

using base::JsonValue;
using Extents = std::vector<std::int64_t>;

/// A member that every resolved config has.
const JsonValue& member(const JsonValue& object, std::string_view key) {
  const JsonValue* value = object.find(key);
  if (value == nullptr) {
    throw base::Error(base::ErrorKind::checkpoint,
                      "the checkpoint's config has no model." + std::string(key));
  }
  return *value;
}

double number_of(const JsonValue& value) {
  return value.type == JsonValue::Type::integer ? static_cast<double>(value.integer) : value.number;
}

/// 0 where positions are no angles and the config does not mention it.
double theta_of(const JsonValue& position) {
  const JsonValue* theta = position.find("theta");
  return theta == nullptr ? 0.0 : number_of(*theta);
}

bool is_gpt2(const ModelSection& m) {
  return m.normalizer == "softmax" && m.norm == "layer_norm" && m.mlp == "gelu" &&
         m.position == "learned" && m.key_value_heads == m.heads;
}

bool is_llama(const ModelSection& m) {
  return m.norm == "rms_norm" && m.mlp == "swiglu" && m.position == "rope";
}

/// SSMax without b, or the temperature itself.
bool is_temperature(const ModelSection& m) {
  if (m.normalizer == "temperature") return true;
  const JsonValue* bias = m.option("bias");
  return m.normalizer == "ssmax" && (bias == nullptr || !bias->boolean);
}

/// Lists GPT-2's tensors; biases that our model lacks are parts without a name.
class Gpt2Names {
 public:
  explicit Gpt2Names(const ModelSection& model) : m_(model) {}

  std::vector<ForeignTensor> list() {
    const std::int64_t c = m_.hidden_size;
    same("wte.weight", "model.embed_tokens.weight", {m_.vocab_size, c});
    same("wpe.weight", "model.embed_positions.weight", {m_.positions, c});
    for (std::int64_t i = 0; i < m_.layers; ++i) add_block(std::to_string(i));
    norm("ln_f", "model.norm");
    if (!m_.tied)
      all_.push_back(
          {"lm_head.weight", {m_.vocab_size, c}, {{"lm_head.weight", {m_.vocab_size, c}}}});
    return std::move(all_);
  }

 private:
  void add_block(const std::string& index) {
    const std::int64_t c = m_.hidden_size;
    const std::int64_t f = m_.intermediate_size;
    const std::string block = "h." + index + ".";
    const std::string own = "model.layers." + index + ".";
    norm(block + "ln_1", own + "input_layernorm");
    linear(block + "attn.c_attn", own + "self_attn.",
           {{"q_proj", {c}}, {"k_proj", {c}}, {"v_proj", {c}}}, c);
    linear(block + "attn.c_proj", own + "self_attn.", {{"o_proj", {c}}}, c);
    norm(block + "ln_2", own + "post_attention_layernorm");
    linear(block + "mlp.c_fc", own + "mlp.", {{"up_proj", {f}}}, c);
    linear(block + "mlp.c_proj", own + "mlp.", {{"down_proj", {c}}}, f);
  }

  void same(const std::string& name, const std::string& own, const Extents& shape) {
    all_.push_back({"transformer." + name, shape, {{own, shape}}});
  }
  void norm(const std::string& name, const std::string& own) {
    same(name + ".weight", own + ".weight", {m_.hidden_size});
    same(name + ".bias", m_.bias ? own + ".bias" : "", {m_.hidden_size});
  }
  /// `parts` name matrices of as many rows as their shape says, all with `inputs` columns.
  void linear(const std::string& name, const std::string& prefix,
              const std::vector<OwnTensor>& parts, std::int64_t inputs) {
    ForeignTensor weight{"transformer." + name + ".weight", {inputs, 0}, {}, true};
    ForeignTensor bias{"transformer." + name + ".bias", {0}, {}};
    for (const OwnTensor& part : parts) {
      const std::int64_t rows = part.shape[0];
      weight.parts.push_back({prefix + part.name + ".weight", {rows, inputs}});
      bias.parts.push_back({m_.bias ? prefix + part.name + ".bias" : "", {rows}});
      weight.shape[1] += rows;
      bias.shape[0] += rows;
    }
    all_.push_back(std::move(weight));
    all_.push_back(std::move(bias));
  }

  const ModelSection& m_;
  std::vector<ForeignTensor> all_;
};

}  // namespace

std::string class_name(Form form) {
  switch (form) {
    case Form::llama:
      return "LlamaForCausalLM";
    case Form::ministral3:
      return "Ministral3ForCausalLM";
    case Form::gpt2:
      return "GPT2LMHeadModel";
    case Form::own:
      return "SsmaxForCausalLM";
  }
  return "";
}

ModelSection::ModelSection(const JsonValue& section)
    : json(section),
      vocab_size(member(section, "vocab_size").integer),
      layers(member(section, "num_hidden_layers").integer),
      heads(member(section, "num_attention_heads").integer),
      key_value_heads(member(section, "num_key_value_heads").integer),
      hidden_size(member(section, "hidden_size").integer),
      intermediate_size(member(section, "intermediate_size").integer),
      positions(member(section, "max_position_embeddings").integer),
      mlp(member(section, "mlp").text),
      norm(member(section, "norm").text),
      norm_eps(number_of(member(section, "norm_eps"))),
      position(member(member(section, "position"), "kind").text),
      theta(theta_of(member(section, "position"))),
      tied(member(section, "tie_word_embeddings").boolean),
      bias(member(section, "bias").boolean),
      initializer_range(number_of(member(section, "initializer_range"))),
      normalizer(member(member(section, "normalizer"), "kind").text) {}

const JsonValue* ModelSection::option(std::string_view key) const {
  return member(json, "normalizer").find(key);
}

Form choose_form(const ModelSection& model) {
  if (is_gpt2(model)) return Form::gpt2;
  if (is_llama(model) && model.normalizer == "softmax") return Form::llama;
  if (is_llama(model) && !model.bias && is_temperature(model)) return Form::ministral3;
  return Form::own;
}

std::int64_t ForeignTensor::elements() const {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  return count;
}

std::vector<ForeignTensor> foreign_tensors(Form form, const ModelSection& model,
                                           const std::vector<OwnTensor>& own) {
  if (form == Form::gpt2) return Gpt2Names(model).list();
  std::vector<ForeignTensor> all;
  for (const OwnTensor& tensor : own) {
    // The scale of every head goes into its queries.
    const bool folded =
        form == Form::ministral3 && tensor.name.find(".normalizer.") != std::string::npos;
    if (folded) continue;
    ForeignTensor foreign{tensor.name, tensor.shape, {tensor}};
    const bool vocabulary =
        tensor.name == "model.embed_tokens.weight" || tensor.name == "lm_head.weight";
    if (vocabulary) foreign.shape[0] = foreign.parts[0].shape[0] = model.vocab_size;
    all.push_back(std::move(foreign));
  }
  return all;
}

}  // namespace ssmax::checkpoint::hugging_face
