#pragma once

#include <functional>
#include <memory>
#include <span>

#include "model/activations.h"
#include "model/parameter_layout.h"

namespace ssmax::model {

/// The parts of a model that do not change from step to step.
struct Architecture {
  ModelConfig config;
  std::unique_ptr<kernels::AttentionNormalizer> normalizer;
  ParameterLayout layout;
  std::unique_ptr<params::ParameterSet> parameters;
  std::vector<std::vector<ConstTensor>> normalizer_weights;  // of each block, masters
  std::vector<std::vector<Tensor>> normalizer_gradients;     // of each block
};

/// Which documents the rows belong to and where they start.
struct RowPlaces {
  ConstTensor first_key;  // (B, T) i32 or empty
  std::int64_t first_position = 0;
};

/// Keys and values of all positions so far; empty outside generation.
struct BlockCache {
  Tensor keys;    // (B, S, G, D)
  Tensor values;  // (B, S, G, D)
};

/// Looks at a block's attention after it has run: what it read, and the normalizer's parameters
/// there, so that rows can be weighed once more.
using AttentionVisitor = std::function<void(int block, const kernels::AttentionInputs& inputs,
                                            std::span<const ConstTensor> parameters)>;

/// Norms of either kind; `delta` is added to the residual stream in the same pass.
void norm(Stream& stream, const Architecture& model, const NormParameters& parameters,
          const Tensor& y, const kernels::LayerNormSaved& saved, const ConstTensor& x);
void add_norm(Stream& stream, const Architecture& model, const NormParameters& parameters,
              const Tensor& sum, const Tensor& y, const kernels::LayerNormSaved& saved,
              const ConstTensor& x, const ConstTensor& delta);
void norm_backward(Stream& stream, const Architecture& model, const NormParameters& parameters,
                   const Tensor& dx, const ConstTensor& dy, const ConstTensor& x,
                   const kernels::LayerNormSaved& saved, kernels::Write write);

/// What attention of a block reads; from the cache where there is one.
kernels::AttentionInputs attention_inputs(const Architecture& model, const BlockActivations& a,
                                          const Activations& all, const RowPlaces& places,
                                          const BlockCache* cache);

/// From a.normed1 to delta, the MLP's output, with a.input as the residual stream. Every step
/// overwrites what it writes.
void block_forward(Stream& stream, const Architecture& model, int index, const BlockActivations& a,
                   const Tensor& delta, const Activations& all, const RowPlaces& places,
                   const BlockCache* cache = nullptr, const AttentionVisitor& visit = {});

/// g.residual: gradient of the block's output in, gradient of its input out. Parameter gradients
/// +=.
void block_backward(Stream& stream, const Architecture& model, int index, const BlockActivations& a,
                    const Activations& all, const RowPlaces& places);

}  // namespace ssmax::model
