#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json_value.h"

/// Models of Hugging Face transformers: what becomes of our tensors and config keys there, and
/// back.
namespace ssmax::checkpoint::hugging_face {

/// The class of transformers that holds the model.
enum class Form : std::uint8_t {
  llama,       ///< LlamaForCausalLM
  ministral3,  ///< Ministral3ForCausalLM: Llama with a temperature 1 + beta ln(1 + position /
               ///< length)
  gpt2,        ///< GPT2LMHeadModel
  own          ///< SsmaxForCausalLM, whose modeling file stands beside the weights
};

std::string class_name(Form form);

/// The section "model" of a resolved config, as far as names, shapes and configs depend on it.
struct ModelSection {
  explicit ModelSection(const base::JsonValue& section);

  base::JsonValue json;
  std::int64_t vocab_size = 0;
  std::int64_t layers = 0;
  std::int64_t heads = 0;
  std::int64_t key_value_heads = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t positions = 0;
  std::string mlp;
  std::string norm;
  double norm_eps = 0.0;
  std::string position;
  double theta = 0.0;
  bool tied = false;
  bool bias = false;
  double initializer_range = 0.0;
  std::string normalizer;  ///< its kind

  std::int64_t head_size() const { return hidden_size / heads; }
  /// A member of the normalizer's options; nullptr when it has none of that name.
  const base::JsonValue* option(std::string_view key) const;
};

/// The form without code of its own where there is one that computes the same.
Form choose_form(const ModelSection& model);

/// One of our tensors by name and shape; an absent one is zero.
struct OwnTensor {
  std::string name;
  std::vector<std::int64_t> shape;
};

/// A tensor of a Hugging Face file: one of ours, or several stacked by rows and then perhaps
/// transposed (the layers of GPT-2 are x W, ours W x).
struct ForeignTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::vector<OwnTensor> parts;
  bool transposed = false;

  std::int64_t elements() const;
};

/// Every tensor of the form, made of `own`, the tensors of our model in their order.
std::vector<ForeignTensor> foreign_tensors(Form form, const ModelSection& model,
                                           const std::vector<OwnTensor>& own);

}  // namespace ssmax::checkpoint::hugging_face
