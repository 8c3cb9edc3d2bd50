#include "train/run_config.h"

namespace ssmax::train {

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

}  // namespace ssmax::train
