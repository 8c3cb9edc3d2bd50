#include "train/run_config.h"

#include <cmath>

namespace ssmax::train {

namespace {

/// Mean of ln n over n = 1..length.
double mean_log_length(std::int64_t length) {
  return std::lgamma(static_cast<double>(length) + 1.0) / static_cast<double>(length);
}

/// Dotted keys below `section` named initial_scale whose value is 0, which asks for the automatic.
void find_automatic_scales(const base::JsonValue& section, const std::string& prefix,
                           std::vector<std::string>& keys) {
  for (const base::JsonMember& member : section.members) {
    const std::string key = std::string(prefix).append(".").append(member.key);
    if (member.value.type == base::JsonValue::Type::object) {
      find_automatic_scales(member.value, key, keys);
    } else if (member.key == "initial_scale" && member.value.number == 0.0 &&
               member.value.integer == 0) {
      keys.push_back(key);
    }
  }
}

/// 1 from scratch; 1 / mean ln n keeps the mean scale of the scores at the moment of a swap.
void resolve_initial_scales(RunConfig& config) {
  const base::JsonValue json = base::config_json(config.model);
  std::vector<std::string> keys;
  find_automatic_scales(*json.find("normalizer"), "model.normalizer", keys);
  const double scale =
      config.start.checkpoint.empty() ? 1.0 : 1.0 / mean_log_length(config.data.sequence_length);
  for (std::string& key : keys) {
    key.append("=").append(base::to_text(base::JsonValue::of(scale)));
  }
  base::override_config(config, keys);
}

}  // namespace

void RunConfig::validate() const {
  const std::int64_t micro = training.micro_batch_sequences;
  if (micro != 0 && training.batch_sequences % micro != 0) {
    throw base::FieldError("training.micro_batch_sequences",
                           "must divide training.batch_sequences (" +
                               std::to_string(training.batch_sequences) + "), found " +
                               std::to_string(micro));
  }
  const std::int64_t positions = model.max_position_embeddings;
  if (model.position.kind == model::PositionKind::learned && positions != 0 &&
      positions < data.sequence_length) {
    throw base::FieldError("model.max_position_embeddings",
                           "learned positions must reach data.sequence_length (" +
                               std::to_string(data.sequence_length) + "), found " +
                               std::to_string(positions));
  }
}

RunConfig RunConfig::resolved() const {
  RunConfig result = *this;
  result.model.num_key_value_heads = model.key_value_heads();
  if (result.model.max_position_embeddings == 0) {
    result.model.max_position_embeddings = data.sequence_length;
  }
  resolve_initial_scales(result);
  return result;
}

device::DType RunConfig::activation_dtype() const {
  switch (training.precision) {
    case Precision::fp32:
      return device::DType::f32;
    case Precision::bf16:
      return device::DType::bf16;
    case Precision::fp64:
      return device::DType::f64;
  }
  return device::DType::f32;
}

std::vector<base::ConfigDifference> model_changes(const RunConfig& saved, const RunConfig& now) {
  std::vector<base::ConfigDifference> changes;
  for (base::ConfigDifference& difference : base::config_differences(saved, now)) {
    const std::string& key = difference.key;
    const bool of_model = key.starts_with("model.");
    const bool of_start = key.find(".initial") != std::string::npos;
    const bool of_shape = key == "model.max_position_embeddings";
    if (of_model && !of_start && !of_shape) changes.push_back(std::move(difference));
  }
  return changes;
}

}  // namespace ssmax::train
