#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/json_value.h"
#include "checkpoint/hugging_face/names.h"
#include "checkpoint/safetensors.h"

namespace ssmax::checkpoint::hugging_face {

/// What config.json says beside the model.
struct ConfigOptions {
  FileDType dtype = FileDType::f32;
  std::int64_t end_of_text = -1;  ///< id that starts and ends documents; < 0: unknown
  // Of Ministral3: queries times 1 + temperature ln(1 + floor(position / temperature_length)).
  double temperature = 0.0;
  std::int64_t temperature_length = 1;
};

/// config.json of the form.
base::JsonValue to_config_json(Form form, const ModelSection& model, const ConfigOptions& options);

/// A foreign config in our words.
struct ForeignConfig {
  Form form = Form::llama;
  base::JsonValue model;  ///< the section "model" of a config, complete
  std::string dtype;      ///< as it says: "float32", "bfloat16", "float16"; "" when it does not
};

/// Reads config.json of a Llama-, Ministral3- or GPT-2-shaped model, or of one that we exported.
/// Error(checkpoint) with line and key for anything that our model would compute otherwise (RoPE
/// scaling, sliding windows, biases of some layers only, another activation, heads of another size
/// ...) and for fields that it does not know and that are not off.
ForeignConfig parse_config_json(std::string_view text, std::string_view source);

}  // namespace ssmax::checkpoint::hugging_face
