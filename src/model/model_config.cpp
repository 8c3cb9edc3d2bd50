#include "model/model_config.h"

namespace ssmax::model {

void ModelConfig::validate() const {
  if (hidden_size % num_attention_heads != 0) {
    throw base::FieldError("hidden_size", "must be a multiple of num_attention_heads (" +
                                              std::to_string(num_attention_heads) + "), found " +
                                              std::to_string(hidden_size));
  }
  if (num_attention_heads % key_value_heads() != 0) {
    throw base::FieldError("num_key_value_heads", "must divide num_attention_heads (" +
                                                      std::to_string(num_attention_heads) +
                                                      "), found " +
                                                      std::to_string(key_value_heads()));
  }
  if (position.kind == PositionKind::rope && head_size() % 2 != 0) {
    throw base::FieldError("hidden_size",
                           "RoPE needs an even head size, found " + std::to_string(head_size()));
  }
}

FlopCount count_flops(const ModelConfig& config, std::int64_t sequence_length) {
  const std::int64_t c = config.hidden_size;
  const std::int64_t qkv = config.qkv_heads() * config.head_size();
  const std::int64_t mlp_matrices = config.mlp == MlpKind::swiglu ? 3 : 2;
  FlopCount count;
  count.matmul_parameters =
      config.num_hidden_layers * (c * qkv + c * c + mlp_matrices * c * config.intermediate_size) +
      c * config.vocab_size;
  // QK^T and PV over T keys are 4 C T; half of it is masked, and the rule 6 L C T counts that half.
  count.attention_per_token = 2.0 * static_cast<double>(config.num_hidden_layers * c) *
                              static_cast<double>(sequence_length);
  return count;
}

}  // namespace ssmax::model
