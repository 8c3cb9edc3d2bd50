#include "checkpoint/hugging_face/config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <vector>

#include "base/errors.h"
#include "base/strict_json.h"
#include "base/text.h"

namespace ssmax::checkpoint::hugging_face {
namespace {

using base::JsonValue;
using Type = JsonValue::Type;

/// No extent of a model that exists comes near; products of two of them fit 64 bits.
constexpr std::int64_t kLargestExtent = std::int64_t{1} << 28;

/// Fields that do not change what a decoder without dropout computes: names, tokens, generation,
/// training, tools. Others that are unknown are refused unless they are off.
constexpr auto kWithoutEffect = std::to_array<std::string_view>({"_name_or_path",
                                                                 "architectures",
                                                                 "attention_dropout",
                                                                 "attn_pdrop",
                                                                 "auto_map",
                                                                 "bos_token_id",
                                                                 "do_sample",
                                                                 "embd_pdrop",
                                                                 "eos_token_id",
                                                                 "gradient_checkpointing",
                                                                 "id2label",
                                                                 "initializer_range",
                                                                 "is_decoder",
                                                                 "label2id",
                                                                 "max_length",
                                                                 "n_ctx",
                                                                 "output_past",
                                                                 "pad_token_id",
                                                                 "pretraining_tp",
                                                                 "resid_pdrop",
                                                                 "return_dict",
                                                                 "summary_activation",
                                                                 "summary_first_dropout",
                                                                 "summary_proj_to_labels",
                                                                 "summary_type",
                                                                 "summary_use_proj",
                                                                 "task_specific_params",
                                                                 "transformers_version",
                                                                 "use_cache",
                                                                 "reorder_and_upcast_attn"});

bool is_off(const JsonValue& value) {
  return value.type == Type::null || (value.type == Type::boolean && !value.boolean);
}

/// The members of config.json; each must be asked for or be known to have no effect.
class Fields {
 public:
  Fields(const JsonValue& object, std::string_view source, std::string prefix = "")
      : object_(object), source_(source), prefix_(std::move(prefix)) {}

  [[noreturn]] void fail(const JsonValue* value, std::string_view key,
                         const std::string& reason) const {
    throw base::Error(base::ErrorKind::checkpoint,
                      base::located(source_, value == nullptr ? object_.line : value->line,
                                    prefix_ + std::string(key), reason));
  }

  /// nullptr when it is absent or null.
  const JsonValue* find(std::string_view key) {
    used_.insert(std::string(key));
    const JsonValue* value = object_.find(key);
    return value == nullptr || value->type == Type::null ? nullptr : value;
  }

  std::int64_t extent(std::string_view key) {
    const JsonValue* value = find(key);
    if (value == nullptr) fail(value, key, "is missing; expected an integer of at least 1");
    return checked_extent(*value, key);
  }
  std::int64_t extent(std::string_view key, std::int64_t otherwise) {
    const JsonValue* value = find(key);
    return value == nullptr ? otherwise : checked_extent(*value, key);
  }
  double positive(std::string_view key, double otherwise) {
    const JsonValue* value = find(key);
    if (value == nullptr) return otherwise;
    const bool integer = value->type == Type::integer;
    if (!integer && value->type != Type::number) expected(*value, key, "a number above 0");
    const double number = integer ? static_cast<double>(value->integer) : value->number;
    if (!(number > 0.0) || !std::isfinite(number)) expected(*value, key, "a number above 0");
    return number;
  }
  bool boolean(std::string_view key, bool otherwise) {
    const JsonValue* value = find(key);
    if (value == nullptr) return otherwise;
    if (value->type != Type::boolean) expected(*value, key, "true or false");
    return value->boolean;
  }
  std::string text(std::string_view key, std::string_view otherwise) {
    const JsonValue* value = find(key);
    if (value == nullptr) return std::string(otherwise);
    if (value->type != Type::string) expected(*value, key, "a string");
    return value->text;
  }
  const JsonValue* object(std::string_view key) {
    const JsonValue* value = find(key);
    if (value != nullptr && value->type != Type::object) expected(*value, key, "an object");
    return value;
  }
  /// Only `value` can be computed.
  void must_be(std::string_view key, bool value) {
    if (boolean(key, value) != value) {
      fail(object_.find(key), key,
           std::string(value ? "false" : "true") + " is not supported, our models compute " +
               (value ? "true" : "false"));
    }
  }
  void must_be(std::string_view key, std::int64_t value, const std::string& why) {
    if (const std::int64_t found = extent(key, value); found != value) {
      fail(object_.find(key), key,
           "expected " + std::to_string(value) + " (" + why + "), found " + std::to_string(found));
    }
  }
  void must_be_off(std::string_view key, const std::string& why) {
    const JsonValue* value = find(key);
    if (value != nullptr && !is_off(*value)) {
      fail(value, key, why + " is not supported, found " + describe(*value));
    }
  }

  const std::string& source() const { return source_; }

  void finish() const {
    for (const base::JsonMember& member : object_.members) {
      const bool known = used_.contains(member.key) ||
                         std::find(kWithoutEffect.begin(), kWithoutEffect.end(), member.key) !=
                             kWithoutEffect.end();
      if (!known && !is_off(member.value)) {
        fail(&member.value, member.key,
             "is unknown; if it does not change what the model computes, remove it");
      }
    }
  }

 private:
  [[noreturn]] void expected(const JsonValue& value, std::string_view key,
                             const std::string& what) const {
    fail(&value, key, "expected " + what + ", found " + describe(value));
  }
  std::int64_t checked_extent(const JsonValue& value, std::string_view key) const {
    if (value.type != Type::integer || value.integer < 1 || value.integer > kLargestExtent) {
      expected(value, key, "an integer from 1 to " + std::to_string(kLargestExtent));
    }
    return value.integer;
  }

  const JsonValue& object_;
  std::string source_;
  std::string prefix_;
  std::set<std::string> used_;
};

JsonValue kind_object(const char* kind) {
  JsonValue object = JsonValue::object();
  object.add("kind", JsonValue::of(kind));
  return object;
}

/// The sizes that all forms share, under the names of the form.
struct SizeNames {
  const char* layers;
  const char* heads;
  const char* hidden;
  const char* positions;
};

void add_sizes(JsonValue& model, Fields& fields, const SizeNames& names) {
  const std::int64_t heads = fields.extent(names.heads);
  const std::int64_t hidden = fields.extent(names.hidden);
  if (hidden % heads != 0) {
    fields.fail(nullptr, names.hidden,
                "expected a multiple of " + std::to_string(heads) + " heads, found " +
                    std::to_string(hidden));
  }
  model.add("vocab_size", JsonValue::of(fields.extent("vocab_size")));
  model.add("num_hidden_layers", JsonValue::of(fields.extent(names.layers)));
  model.add("num_attention_heads", JsonValue::of(heads));
  model.add("hidden_size", JsonValue::of(hidden));
  model.add("max_position_embeddings", JsonValue::of(fields.extent(names.positions)));
}

/// RoPE's theta, and the temperature of Ministral3 where it has one.
void add_rope(JsonValue& model, Fields& fields, bool with_temperature) {
  double theta = fields.positive("rope_theta", 10000.0);
  JsonValue normalizer = kind_object("softmax");
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const JsonValue* object = fields.object(key);
    if (object == nullptr) continue;
    Fields rope(*object, fields.source(), std::string(key) + ".");
    for (const char* type : {"rope_type", "type"}) {
      if (const std::string kind = rope.text(type, "default"); kind != "default") {
        rope.fail(object->find(type), type,
                  "RoPE scaling " + base::in_quotes(kind) +
                      " is not supported, only plain RoPE (\"default\")");
      }
    }
    theta = rope.positive("rope_theta", theta);
    if (rope.positive("partial_rotary_factor", 1.0) != 1.0) {
      rope.fail(object->find("partial_rotary_factor"), "partial_rotary_factor",
                "RoPE on a part of each head is not supported");
    }
    if (with_temperature) {
      if (rope.find("llama_4_scaling_beta") != nullptr) {
        normalizer = kind_object("temperature");
        normalizer.add("beta", JsonValue::of(rope.positive("llama_4_scaling_beta", 0.0)));
        normalizer.add("original_length",
                       JsonValue::of(rope.extent("original_max_position_embeddings")));
      }
      rope.find("max_position_embeddings");
    }
    rope.finish();
  }
  JsonValue position = kind_object("rope");
  position.add("theta", JsonValue::of(theta));
  model.add("position", std::move(position));
  model.add("normalizer", std::move(normalizer));
}

void add_norm_and_range(JsonValue& model, Fields& fields, const char* norm, const char* eps_key,
                        double eps) {
  model.add("norm", JsonValue::of(norm));
  model.add("norm_eps", JsonValue::of(fields.positive(eps_key, eps)));
  model.add("initializer_range", JsonValue::of(fields.positive("initializer_range", 0.02)));
}

JsonValue llama_section(Fields& fields, bool with_temperature) {
  JsonValue model = JsonValue::object();
  add_sizes(model, fields,
            {"num_hidden_layers", "num_attention_heads", "hidden_size", "max_position_embeddings"});
  const std::int64_t heads = model.find("num_attention_heads")->integer;
  const std::int64_t hidden = model.find("hidden_size")->integer;
  model.add("intermediate_size", JsonValue::of(fields.extent("intermediate_size")));
  model.add("num_key_value_heads", JsonValue::of(fields.extent("num_key_value_heads", heads)));
  fields.must_be("head_dim", hidden / heads, "hidden_size / num_attention_heads");
  if (const std::string act = fields.text("hidden_act", "silu"); act != "silu") {
    fields.fail(fields.find("hidden_act"), "hidden_act",
                "expected \"silu\" (SwiGLU), found " + base::in_quotes(act));
  }
  model.add("mlp", JsonValue::of("swiglu"));
  const bool attention_bias = fields.boolean("attention_bias", false);
  if (fields.boolean("mlp_bias", false) != attention_bias) {
    fields.fail(fields.find("attention_bias"), "attention_bias",
                "biases in attention or the MLP alone are not supported, only in both or none");
  }
  model.add("bias", JsonValue::of(attention_bias));
  model.add("tie_word_embeddings", JsonValue::of(fields.boolean("tie_word_embeddings", false)));
  add_norm_and_range(model, fields, "rms_norm", "rms_norm_eps", with_temperature ? 1e-5 : 1e-6);
  fields.must_be_off("sliding_window", "a sliding window");
  fields.must_be_off("layer_types", "attention of several types");
  add_rope(model, fields, with_temperature);
  return model;
}

JsonValue gpt2_section(Fields& fields) {
  JsonValue model = JsonValue::object();
  add_sizes(model, fields, {"n_layer", "n_head", "n_embd", "n_positions"});
  model.add("intermediate_size",
            JsonValue::of(fields.extent("n_inner", 4 * model.find("hidden_size")->integer)));
  model.add("num_key_value_heads", *model.find("num_attention_heads"));
  const std::string act = fields.text("activation_function", "gelu_new");
  if (act != "gelu_new" && act != "gelu_pytorch_tanh") {
    fields.fail(fields.find("activation_function"), "activation_function",
                "expected \"gelu_new\" (GELU by tanh), found " + base::in_quotes(act));
  }
  fields.must_be("scale_attn_weights", true);
  fields.must_be("scale_attn_by_inverse_layer_idx", false);
  fields.must_be("add_cross_attention", false);
  model.add("mlp", JsonValue::of("gelu"));
  model.add("bias", JsonValue::of(true));
  model.add("tie_word_embeddings", JsonValue::of(fields.boolean("tie_word_embeddings", true)));
  add_norm_and_range(model, fields, "layer_norm", "layer_norm_epsilon", 1e-5);
  model.add("position", kind_object("learned"));
  model.add("normalizer", kind_object("softmax"));
  return model;
}

/// The keys are our own; what they may be is checked by the config they go into.
JsonValue own_section(Fields& fields) {
  JsonValue model = JsonValue::object();
  add_sizes(model, fields,
            {"num_hidden_layers", "num_attention_heads", "hidden_size", "max_position_embeddings"});
  model.add("intermediate_size", JsonValue::of(fields.extent("intermediate_size")));
  model.add("num_key_value_heads", JsonValue::of(fields.extent("num_key_value_heads")));
  model.add("mlp", JsonValue::of(fields.text("mlp", "swiglu")));
  model.add("bias", JsonValue::of(fields.boolean("bias", false)));
  model.add("tie_word_embeddings", JsonValue::of(fields.boolean("tie_word_embeddings", false)));
  add_norm_and_range(model, fields, fields.text("norm", "rms_norm").c_str(), "norm_eps", 1e-5);
  for (const char* key : {"position", "normalizer"}) {
    const JsonValue* object = fields.object(key);
    if (object == nullptr) fields.fail(nullptr, key, "is missing; expected an object");
    model.add(key, *object);
  }
  return model;
}

std::string_view dtype_name(FileDType dtype) {
  return dtype == FileDType::bf16 ? "bfloat16" : "float32";
}

/// Old and new versions of transformers read other keys for the same.
void add_rope_json(JsonValue& json, const ModelSection& model, double beta, std::int64_t length) {
  JsonValue rope = JsonValue::object();
  rope.add("rope_type", JsonValue::of("default"));
  rope.add("rope_theta", JsonValue::of(model.theta));
  if (beta > 0.0) {
    rope.add("llama_4_scaling_beta", JsonValue::of(beta));
    rope.add("original_max_position_embeddings", JsonValue::of(length));
  }
  json.add("rope_theta", JsonValue::of(model.theta));
  json.add("rope_parameters", std::move(rope));
}

void add_llama_json(JsonValue& json, const ModelSection& m) {
  json.add("vocab_size", JsonValue::of(m.vocab_size));
  json.add("hidden_size", JsonValue::of(m.hidden_size));
  json.add("intermediate_size", JsonValue::of(m.intermediate_size));
  json.add("num_hidden_layers", JsonValue::of(m.layers));
  json.add("num_attention_heads", JsonValue::of(m.heads));
  json.add("num_key_value_heads", JsonValue::of(m.key_value_heads));
  json.add("head_dim", JsonValue::of(m.head_size()));
  json.add("hidden_act", JsonValue::of("silu"));
  json.add("max_position_embeddings", JsonValue::of(m.positions));
  json.add("rms_norm_eps", JsonValue::of(m.norm_eps));
  json.add("initializer_range", JsonValue::of(m.initializer_range));
  json.add("tie_word_embeddings", JsonValue::of(m.tied));
  json.add("attention_dropout", JsonValue::of(0.0));
}

void add_gpt2_json(JsonValue& json, const ModelSection& m) {
  json.add("vocab_size", JsonValue::of(m.vocab_size));
  json.add("n_positions", JsonValue::of(m.positions));
  json.add("n_embd", JsonValue::of(m.hidden_size));
  json.add("n_layer", JsonValue::of(m.layers));
  json.add("n_head", JsonValue::of(m.heads));
  json.add("n_inner", JsonValue::of(m.intermediate_size));
  json.add("activation_function", JsonValue::of("gelu_new"));
  json.add("layer_norm_epsilon", JsonValue::of(m.norm_eps));
  json.add("initializer_range", JsonValue::of(m.initializer_range));
  json.add("tie_word_embeddings", JsonValue::of(m.tied));
  // Ours are trained without; transformers would assume 0.1.
  for (const char* key : {"resid_pdrop", "embd_pdrop", "attn_pdrop"}) {
    json.add(key, JsonValue::of(0.0));
  }
}

void add_own_json(JsonValue& json, const ModelSection& m) {
  JsonValue classes = JsonValue::object();
  classes.add("AutoConfig", JsonValue::of("modeling_ssmax.SsmaxConfig"));
  classes.add("AutoModelForCausalLM", JsonValue::of("modeling_ssmax.SsmaxForCausalLM"));
  json.add("auto_map", std::move(classes));
  for (const base::JsonMember& member : m.json.members) {
    json.add(member.key, member.key == "vocab_size" ? JsonValue::of(m.vocab_size) : member.value);
  }
}

const char* model_type(Form form) {
  switch (form) {
    case Form::llama:
      return "llama";
    case Form::ministral3:
      return "ministral3";
    case Form::gpt2:
      return "gpt2";
    case Form::own:
      return "ssmax";
  }
  return "";
}

}  // namespace

JsonValue to_config_json(Form form, const ModelSection& model, const ConfigOptions& options) {
  JsonValue json = JsonValue::object();
  JsonValue classes = JsonValue::array();
  classes.items.push_back(JsonValue::of(class_name(form)));
  json.add("architectures", std::move(classes));
  json.add("model_type", JsonValue::of(model_type(form)));
  switch (form) {
    case Form::llama:
      add_llama_json(json, model);
      json.add("attention_bias", JsonValue::of(model.bias));
      json.add("mlp_bias", JsonValue::of(model.bias));
      add_rope_json(json, model, 0.0, 0);
      break;
    case Form::ministral3:
      add_llama_json(json, model);
      json.add("sliding_window", JsonValue());
      add_rope_json(json, model, options.temperature, options.temperature_length);
      break;
    case Form::gpt2:
      add_gpt2_json(json, model);
      break;
    case Form::own:
      add_own_json(json, model);
      break;
  }
  const bool known = options.end_of_text >= 0;
  for (const char* key : {"bos_token_id", "eos_token_id"}) {
    json.add(key, known ? JsonValue::of(options.end_of_text) : JsonValue());
  }
  json.add("pad_token_id", JsonValue());
  json.add("use_cache", JsonValue::of(true));
  for (const char* key : {"dtype", "torch_dtype"}) {
    json.add(key, JsonValue::of(dtype_name(options.dtype)));
  }
  return json;
}

ForeignConfig parse_config_json(std::string_view text, std::string_view source) {
  const JsonValue root = base::parse_json_value(text, source, base::ErrorKind::checkpoint);
  if (root.type != Type::object) {
    throw base::Error(
        base::ErrorKind::checkpoint,
        base::located(source, root.line, "", "expected an object, found " + describe(root)));
  }
  Fields fields(root, source);
  ForeignConfig config;
  const std::string type = fields.text("model_type", "");
  if (type == "llama" || type == "mistral") {
    config.form = Form::llama;
    config.model = llama_section(fields, false);
  } else if (type == "ministral3") {
    config.form = Form::ministral3;
    config.model = llama_section(fields, true);
  } else if (type == "gpt2") {
    config.form = Form::gpt2;
    config.model = gpt2_section(fields);
  } else if (type == "ssmax") {
    config.form = Form::own;
    config.model = own_section(fields);
  } else {
    fields.fail(
        fields.find("model_type"), "model_type",
        "expected llama, mistral, ministral3, gpt2 or ssmax, found " + base::in_quotes(type));
  }
  fields.must_be_off("quantization_config", "a quantized model");
  config.dtype = fields.text("dtype", fields.text("torch_dtype", ""));
  fields.finish();
  return config;
}

}  // namespace ssmax::checkpoint::hugging_face
