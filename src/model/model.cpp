#include "model/model.h"

#include <algorithm>

#include "device/range.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/embedding/embedding.h"
#include "kernels/linear/linear.h"

namespace ssmax::model {

namespace {

using kernels::Write;

void bind_normalizer_parameters(Architecture& parts) {
  for (const BlockParameters& block : parts.layout.blocks) {
    std::vector<ConstTensor> weights;
    std::vector<Tensor> gradients;
    for (const int index : block.normalizer) {
      weights.push_back(parts.parameters->exact_weight(index));
      gradients.push_back(parts.parameters->gradient(index));
    }
    parts.normalizer_weights.push_back(std::move(weights));
    parts.normalizer_gradients.push_back(std::move(gradients));
  }
}

}  // namespace

Model::Model(const ModelConfig& config, DType activation, const params::Storage& storage,
             Arena& arena)
    : dtype_(activation) {
  parts_.config = config;
  parts_.normalizer = normalizers::make(config.normalizer);
  parts_.layout = make_parameter_layout(config, parts_.normalizer->parameters());
  parts_.parameters =
      std::make_unique<params::ParameterSet>(parts_.layout.specs, activation, storage, arena);
  bind_normalizer_parameters(parts_);
}

Activations Model::evaluation_activations(std::int64_t batch, std::int64_t length, Arena& arena,
                                          std::int64_t positions) const {
  ActivationOptions options;
  options.batch = batch;
  options.length = length;
  options.positions = positions;
  options.dtype = dtype_;
  options.purpose = Purpose::evaluation;
  return {config(), attention_row_values(), options, arena};
}

std::int64_t Model::attention_workspace_bytes(const Activations& activations) const {
  const kernels::AttentionInputs inputs =
      attention_inputs(parts_, activations.blocks.front(), activations, {}, nullptr);
  const std::int64_t forward =
      parts_.normalizer->workspace_bytes(inputs, kernels::AttentionPass::forward);
  if (activations.options.purpose == Purpose::evaluation) return forward;
  return std::max(forward,
                  parts_.normalizer->workspace_bytes(inputs, kernels::AttentionPass::backward));
}

std::int64_t Model::linear_workspace_bytes(const Activations& activations) const {
  const auto bytes_for = [&](const Tensor& output, std::int64_t biases) {
    return kernels::linear_workspace_bytes(output.device(), output.extent(0), config().hidden_size,
                                           output.extent(1), biases, dtype_);
  };
  const Tensor& widest = activations.blocks.front().mlp_input;
  return std::max(bytes_for(activations.logits, 0),
                  bytes_for(widest, config().bias ? widest.extent(1) : 0));
}

void Model::enter_block(Stream& stream, Activations& activations, int index) const {
  const BlockActivations& a = activations.blocks[static_cast<std::size_t>(index)];
  const NormParameters& p = parts_.layout.blocks[static_cast<std::size_t>(index)].attention_norm;
  if (index == 0) {
    norm(stream, parts_, p, a.normed1, a.norm1, a.input);
  } else {
    const BlockActivations& before = activations.blocks[static_cast<std::size_t>(index) - 1];
    add_norm(stream, parts_, p, a.input, a.normed1, a.norm1, before.middle, activations.delta);
  }
}

void Model::forward_blocks(Stream& stream, Activations& activations, const ConstTensor& tokens,
                           const RowPlaces& places, std::vector<BlockCache>* caches,
                           const AttentionVisitor& visit) const {
  const ParameterLayout& layout = parts_.layout;
  const params::ParameterSet& set = *parts_.parameters;
  const Shape rows{activations.options.batch, activations.options.length, config().hidden_size};
  const ConstTensor positions =
      layout.position_embedding == kAbsent ? ConstTensor() : set.weight(layout.position_embedding);
  kernels::embedding(stream, activations.blocks.front().input.reshaped(rows), tokens,
                     set.weight(layout.token_embedding), positions, places.first_position);
  for (int index = 0; index < config().num_hidden_layers; ++index) {
    const auto i = static_cast<std::size_t>(index);
    const device::Range range("block forward", index);
    enter_block(stream, activations, index);
    block_forward(stream, parts_, index, activations.blocks[i], activations.delta, activations,
                  places, caches == nullptr ? nullptr : &(*caches)[i], visit);
  }
  add_norm(stream, parts_, layout.final_norm, activations.output, activations.final_normed,
           activations.final_norm, activations.blocks.back().middle, activations.delta);
}

void Model::forward(Stream& stream, Activations& activations, const TokenBatch& batch,
                    const LogitsVisitor& visit) const {
  forward_blocks(stream, activations, batch.tokens, {batch.first_key, 0}, nullptr, {});
  const ConstTensor output = parts_.parameters->padded_weight(parts_.layout.output);
  const ConstTensor targets = batch.targets.reshaped({activations.rows()});
  const std::int64_t step = activations.logits.extent(0);
  for (std::int64_t row = 0; row < activations.rows(); row += step) {
    const std::int64_t count = std::min(step, activations.rows() - row);
    const Tensor logits = activations.logits.rows(0, count);
    kernels::linear(stream, logits, activations.final_normed.rows(row, count), output, {});
    if (visit) visit(row, logits);
    kernels::cross_entropy(stream, activations.losses.rows(row, count), logits,
                           targets.rows(row, count), config().vocab_size);
  }
}

void Model::forward_for_training(Stream& stream, Activations& activations, const TokenBatch& batch,
                                 double loss_scale) const {
  const device::Range whole("forward");
  forward_blocks(stream, activations, batch.tokens, {batch.first_key, 0}, nullptr, {});
  const ConstTensor output = parts_.parameters->padded_weight(parts_.layout.output);
  const device::Range range("output layer");
  const Tensor doutput = parts_.parameters->padded_gradient(parts_.layout.output);
  const ConstTensor targets = batch.targets.reshaped({activations.rows()});
  const std::int64_t step = activations.logits.extent(0);
  for (std::int64_t row = 0; row < activations.rows(); row += step) {
    const std::int64_t count = std::min(step, activations.rows() - row);
    const Tensor logits = activations.logits.rows(0, count);
    const ConstTensor normed = activations.final_normed.rows(row, count);
    kernels::linear(stream, logits, normed, output, {});
    kernels::cross_entropy_with_gradient(stream, activations.losses.rows(row, count), logits,
                                         targets.rows(row, count), config().vocab_size, loss_scale);
    kernels::linear_input_gradient(stream, activations.gradients.normed.rows(row, count), logits,
                                   output);
    kernels::linear_weight_gradient(stream, doutput, {}, logits, normed);
  }
}

void Model::backward(Stream& stream, Activations& activations, const TokenBatch& batch,
                     const GradientsReady& ready) const {
  const device::Range whole("backward");
  const ParameterLayout& layout = parts_.layout;
  const params::ParameterSet& set = *parts_.parameters;
  const RowPlaces places{batch.first_key, 0};
  const auto tell = [&](int section) {
    if (ready) ready(section);
  };

  norm_backward(stream, parts_, layout.final_norm, activations.gradients.residual,
                activations.gradients.normed, activations.output, activations.final_norm,
                Write::overwrite);
  tell(layout.section_of_head());
  for (int index = static_cast<int>(config().num_hidden_layers) - 1; index >= 0; --index) {
    const BlockActivations& a = activations.blocks[static_cast<std::size_t>(index)];
    const device::Range range("block backward", index);
    if (activations.options.recompute == Recompute::block) {
      const NormParameters& p = layout.blocks[static_cast<std::size_t>(index)].attention_norm;
      norm(stream, parts_, p, a.normed1, a.norm1, a.input);
      block_forward(stream, parts_, index, a, activations.delta, activations, places);
    }
    block_backward(stream, parts_, index, a, activations, places);
    tell(layout.section_of_block(index));
  }
  const Shape rows{activations.options.batch, activations.options.length, config().hidden_size};
  const Tensor dpositions =
      layout.position_embedding == kAbsent ? Tensor() : set.gradient(layout.position_embedding);
  kernels::embedding_backward(stream, set.gradient(layout.token_embedding), dpositions,
                              batch.tokens, activations.gradients.residual.reshaped(rows));
  tell(0);
}

void Model::forward_cached(Stream& stream, Activations& activations, const ConstTensor& tokens,
                           std::int64_t first_position, std::vector<BlockCache>& caches,
                           const Tensor& logits, const Tensor& last_hidden,
                           const AttentionVisitor& visit) const {
  forward_blocks(stream, activations, tokens, {ConstTensor(), first_position}, &caches, visit);
  const std::int64_t length = activations.options.length;
  for (std::int64_t b = 0; b < activations.options.batch; ++b) {
    device::copy(stream, last_hidden.rows(b, 1),
                 activations.final_normed.rows((b + 1) * length - 1, 1));
  }
  kernels::linear(stream, logits, last_hidden, parts_.parameters->weight(parts_.layout.output), {});
}

}  // namespace ssmax::model
