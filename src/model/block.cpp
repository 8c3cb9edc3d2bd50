#include "model/block.h"

#include "device/range.h"
#include "kernels/cast/cast.h"
#include "kernels/linear/linear.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rope/rope.h"
#include "kernels/swiglu/swiglu.h"

namespace ssmax::model {

namespace {

using kernels::HeadsViewOf;
using kernels::Write;

ConstTensor weight(const Architecture& model, int index) {
  return index == kAbsent ? ConstTensor() : model.parameters->weight(index);
}

Tensor gradient(const Architecture& model, int index) {
  return index == kAbsent ? Tensor() : model.parameters->gradient(index);
}

/// x as (M, columns).
template <class View>
View matrix(const View& x, std::int64_t columns) {
  return x.reshaped({x.elements() / columns, columns});
}

ConstTensor packed_weight(const Architecture& model, int index, int packed) {
  return index == kAbsent ? ConstTensor() : model.parameters->packed_weight(index, packed);
}

Tensor packed_gradient(const Architecture& model, int index, int packed) {
  return index == kAbsent ? Tensor() : model.parameters->packed_gradient(index, packed);
}

void linear(Stream& stream, const Architecture& model, const LinearParameters& parameters,
            const Tensor& y, const ConstTensor& x) {
  const ConstTensor weights = packed_weight(model, parameters.weight, parameters.packed);
  kernels::linear(stream, matrix(y, weights.extent(0)), matrix(x, weights.extent(1)), weights,
                  packed_weight(model, parameters.bias, parameters.packed));
}

void linear_parameter_gradients(Stream& stream, const Architecture& model,
                                const LinearParameters& parameters, const ConstTensor& dy,
                                const ConstTensor& x) {
  const Tensor dweights = packed_gradient(model, parameters.weight, parameters.packed);
  kernels::linear_weight_gradient(stream, dweights,
                                  packed_gradient(model, parameters.bias, parameters.packed),
                                  matrix(dy, dweights.extent(0)), matrix(x, dweights.extent(1)));
}

void linear_backward(Stream& stream, const Architecture& model, const LinearParameters& parameters,
                     const Tensor& dx, const ConstTensor& dy, const ConstTensor& x) {
  const ConstTensor weights = packed_weight(model, parameters.weight, parameters.packed);
  kernels::linear_input_gradient(stream, matrix(dx, weights.extent(1)),
                                 matrix(dy, weights.extent(0)), weights);
  linear_parameter_gradients(stream, model, parameters, dy, x);
}

/// `heads` heads from `first` of a fused (B, T, row heads, D) buffer.
template <class View>
HeadsViewOf<View> heads_of(const View& buffer, std::int64_t first, std::int64_t heads) {
  HeadsViewOf<View> view;
  view.storage = buffer;
  view.batch = buffer.extent(0);
  view.time = buffer.extent(1);
  view.heads = heads;
  view.head_size = buffer.extent(3);
  view.time_stride = buffer.extent(2) * buffer.extent(3);
  view.batch_stride = buffer.extent(1) * view.time_stride;
  view.offset = first * buffer.extent(3);
  return view;
}

kernels::RowLengths row_lengths(const Activations& all, const RowPlaces& places) {
  return {places.first_key, all.options.batch, all.options.length, places.first_position};
}

/// Copies the new keys and values behind those of earlier positions.
void append_to_cache(Stream& stream, const Architecture& model, const BlockActivations& a,
                     const RowPlaces& places, const BlockCache& cache) {
  const std::int64_t d = model.config.head_size();
  const std::int64_t h = model.config.heads();
  const std::int64_t g = model.config.key_value_heads();
  const std::int64_t batch = a.qkv.extent(0);
  const std::int64_t time = a.qkv.extent(1);
  const std::int64_t capacity = cache.keys.extent(1);
  const std::int64_t row = (h + 2 * g) * d;
  for (std::int64_t b = 0; b < batch; ++b) {
    const std::int64_t to = (b * capacity + places.first_position) * g * d;
    const std::int64_t from = b * time * row + h * d;
    device::copy_rows(stream, {cache.keys, to, g * d}, {a.qkv, from, row}, time, g * d);
    device::copy_rows(stream, {cache.values, to, g * d}, {a.qkv, from + g * d, row}, time, g * d);
  }
}

void attend(Stream& stream, const Architecture& model, int index, const BlockActivations& a,
            const Activations& all, const RowPlaces& places, const BlockCache* cache,
            const AttentionVisitor& visit) {
  const device::Range range("attention");
  const auto& weights = model.normalizer_weights[static_cast<std::size_t>(index)];
  model.normalizer->row_scale(stream, a.row_scale, weights, row_lengths(all, places));
  const kernels::AttentionInputs inputs = attention_inputs(model, a, all, places, cache);
  model.normalizer->forward(stream, heads_of(a.attention, 0, model.config.heads()),
                            a.attention_rows, inputs, weights);
  if (visit) visit(index, inputs, weights);
}

void attend_backward(Stream& stream, const Architecture& model, int index,
                     const BlockActivations& a, const Activations& all, const RowPlaces& places) {
  const device::Range range("attention backward");
  const std::int64_t h = model.config.heads();
  const std::int64_t g = model.config.key_value_heads();
  const GradientBuffers& buffers = all.gradients;
  const auto& weights = model.normalizer_weights[static_cast<std::size_t>(index)];
  const auto& gradients = model.normalizer_gradients[static_cast<std::size_t>(index)];
  const kernels::AttentionGradients outputs{heads_of(buffers.qkv, 0, h),
                                            heads_of(buffers.qkv, h, g),
                                            heads_of(buffers.qkv, h + g, g), buffers.row_scale};
  model.normalizer->backward(stream, outputs, gradients,
                             heads_of(ConstTensor(buffers.attention), 0, h),
                             heads_of(ConstTensor(a.attention), 0, h), a.attention_rows,
                             attention_inputs(model, a, all, places, nullptr), weights);
  model.normalizer->row_scale_backward(stream, gradients, buffers.row_scale, weights,
                                       row_lengths(all, places));
}

void rotate(Stream& stream, const Architecture& model, const Tensor& qkv, const Activations& all,
            const RowPlaces& places, kernels::Turn turn) {
  if (all.rope_table.empty()) return;
  kernels::rope(stream, qkv, all.rope_table, model.config.heads() + model.config.key_value_heads(),
                places.first_position, turn);
}

/// From a.normed2 to a.mlp_hidden.
void enter_mlp(Stream& stream, const Architecture& model, const LinearParameters& parameters,
               const BlockActivations& a) {
  if (model.config.mlp == MlpKind::gelu) {
    kernels::linear_gelu(stream, a.mlp_hidden, a.mlp_input, a.normed2,
                         packed_weight(model, parameters.weight, parameters.packed),
                         packed_weight(model, parameters.bias, parameters.packed));
  } else {
    linear(stream, model, parameters, a.mlp_input, a.normed2);
    kernels::swiglu(stream, a.mlp_hidden, a.mlp_input);
  }
}

/// From g.residual to g.mlp_input, through the MLP's last layer and what is before it.
void leave_mlp_backward(Stream& stream, const Architecture& model,
                        const LinearParameters& parameters, const BlockActivations& a,
                        const GradientBuffers& g) {
  if (model.config.mlp == MlpKind::gelu) {
    kernels::gelu_linear_input_gradient(stream, g.mlp_input, g.residual,
                                        packed_weight(model, parameters.weight, parameters.packed),
                                        a.mlp_input);
    linear_parameter_gradients(stream, model, parameters, g.residual, a.mlp_hidden);
  } else {
    linear_backward(stream, model, parameters, g.mlp_hidden, g.residual, a.mlp_hidden);
    kernels::swiglu_backward(stream, g.mlp_input, g.mlp_hidden, a.mlp_input);
  }
}

}  // namespace

void norm(Stream& stream, const Architecture& model, const NormParameters& parameters,
          const Tensor& y, const kernels::LayerNormSaved& saved, const ConstTensor& x) {
  const ConstTensor scale = weight(model, parameters.weight);
  const double eps = model.config.norm_eps;
  if (model.config.norm == NormKind::rms_norm) {
    kernels::rms_norm(stream, y, saved.rstd, x, scale, eps);
  } else {
    kernels::layer_norm(stream, y, saved, x, scale, weight(model, parameters.bias), eps);
  }
}

void add_norm(Stream& stream, const Architecture& model, const NormParameters& parameters,
              const Tensor& sum, const Tensor& y, const kernels::LayerNormSaved& saved,
              const ConstTensor& x, const ConstTensor& delta) {
  const ConstTensor scale = weight(model, parameters.weight);
  const double eps = model.config.norm_eps;
  if (model.config.norm == NormKind::rms_norm) {
    kernels::add_rms_norm(stream, sum, y, saved.rstd, x, delta, scale, eps);
  } else {
    kernels::add_layer_norm(stream, sum, y, saved, x, delta, scale, weight(model, parameters.bias),
                            eps);
  }
}

void norm_backward(Stream& stream, const Architecture& model, const NormParameters& parameters,
                   const Tensor& dx, const ConstTensor& dy, const ConstTensor& x,
                   const kernels::LayerNormSaved& saved, Write write) {
  const ConstTensor scale = weight(model, parameters.weight);
  const Tensor dscale = gradient(model, parameters.weight);
  if (model.config.norm == NormKind::rms_norm) {
    kernels::rms_norm_backward(stream, dx, dscale, dy, x, scale, saved.rstd, write);
  } else {
    kernels::layer_norm_backward(stream, dx, dscale, gradient(model, parameters.bias), dy, x, scale,
                                 saved, write);
  }
}

kernels::AttentionInputs attention_inputs(const Architecture& model, const BlockActivations& a,
                                          const Activations& all, const RowPlaces& places,
                                          const BlockCache* cache) {
  const std::int64_t h = model.config.heads();
  const std::int64_t g = model.config.key_value_heads();
  const ConstTensor qkv = a.qkv;
  kernels::AttentionInputs inputs;
  inputs.q = heads_of(qkv, 0, h);
  inputs.k = cache == nullptr ? heads_of(qkv, h, g) : heads_of(ConstTensor(cache->keys), 0, g);
  inputs.v =
      cache == nullptr ? heads_of(qkv, h + g, g) : heads_of(ConstTensor(cache->values), 0, g);
  inputs.row_scale = a.row_scale;
  inputs.first_key = places.first_key;
  inputs.alibi = all.alibi_slopes;
  inputs.first_position = places.first_position;
  return inputs;
}

void block_forward(Stream& stream, const Architecture& model, int index, const BlockActivations& a,
                   const Tensor& delta, const Activations& all, const RowPlaces& places,
                   const BlockCache* cache, const AttentionVisitor& visit) {
  const BlockParameters& p = model.layout.blocks[static_cast<std::size_t>(index)];
  linear(stream, model, p.qkv, a.qkv, a.normed1);
  rotate(stream, model, a.qkv, all, places, kernels::Turn::forward);
  if (cache != nullptr) append_to_cache(stream, model, a, places, *cache);
  attend(stream, model, index, a, all, places, cache, visit);
  linear(stream, model, p.attention_output, delta, a.attention);
  add_norm(stream, model, p.mlp_norm, a.middle, a.normed2, a.norm2, a.input, delta);
  enter_mlp(stream, model, p.mlp_input, a);
  linear(stream, model, p.mlp_output, delta, a.mlp_hidden);
}

void block_backward(Stream& stream, const Architecture& model, int index, const BlockActivations& a,
                    const Activations& all, const RowPlaces& places) {
  const BlockParameters& p = model.layout.blocks[static_cast<std::size_t>(index)];
  const GradientBuffers& g = all.gradients;
  leave_mlp_backward(stream, model, p.mlp_output, a, g);
  linear_backward(stream, model, p.mlp_input, g.normed, g.mlp_input, a.normed2);
  norm_backward(stream, model, p.mlp_norm, g.residual, g.normed, a.middle, a.norm2, Write::add);
  linear_backward(stream, model, p.attention_output, g.attention, g.residual, a.attention);
  attend_backward(stream, model, index, a, all, places);
  rotate(stream, model, g.qkv, all, places, kernels::Turn::backward);
  linear_backward(stream, model, p.qkv, g.normed, g.qkv, a.normed1);
  norm_backward(stream, model, p.attention_norm, g.residual, g.normed, a.input, a.norm1,
                Write::add);
}

}  // namespace ssmax::model
