#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "model/block.h"

namespace ssmax::model {

/// One micro-batch on the model's device.
struct TokenBatch {
  ConstTensor tokens;     // (B, T) i32
  ConstTensor targets;    // (B, T) i32, kernels::kIgnoredTarget where nothing is predicted
  ConstTensor first_key;  // (B, T) i32, or empty: one document per row
};

/// Told when the gradients of a section of the ParameterSet are complete, last section first.
using GradientsReady = std::function<void(int section)>;

/// Looks at the logits (rows, S) of rows from `first_row` on, which the next rows overwrite;
/// columns behind the vocabulary mean nothing.
using LogitsVisitor = std::function<void(std::int64_t first_row, const ConstTensor& logits)>;

/// A GPT: weights, and how to go forward and backward through them.
class Model {
 public:
  /// Parameters come from `arena`, uninitialized. `activation` is the dtype of activations and of
  /// the weights the kernels read: f32, bf16 or f64.
  Model(const ModelConfig& config, DType activation, const params::Storage& storage, Arena& arena);

  const ModelConfig& config() const { return parts_.config; }
  const Architecture& parts() const { return parts_; }
  params::ParameterSet& parameters() { return *parts_.parameters; }
  const params::ParameterSet& parameters() const { return *parts_.parameters; }
  DType dtype() const { return dtype_; }
  /// Values per attention row that Activations must hold.
  std::int64_t attention_row_values() const { return parts_.normalizer->row_values(); }
  /// What a forward of B sequences of T tokens takes that no backward follows. With a KV cache
  /// `positions` is the last position + 1; 0 = T.
  Activations evaluation_activations(std::int64_t batch, std::int64_t length, Arena& arena,
                                     std::int64_t positions = 0) const;
  /// Bytes of scratch for attention in these activations: of every thread on a CPU, in all on a
  /// GPU.
  std::int64_t attention_workspace_bytes(const Activations& activations) const;
  /// Bytes of scratch that the largest matmul takes while it runs.
  std::int64_t linear_workspace_bytes(const Activations& activations) const;

  /// Loss of every token, (M) nats, in activations.losses. `visit` may be empty.
  void forward(Stream& stream, Activations& activations, const TokenBatch& batch,
               const LogitsVisitor& visit = {}) const;

  /// The same, and already the output layer's part of the backward of loss_scale * sum of losses,
  /// so that logits are never kept. backward() must follow.
  void forward_for_training(Stream& stream, Activations& activations, const TokenBatch& batch,
                            double loss_scale) const;

  /// Parameter gradients +=; `ready` may be empty.
  void backward(Stream& stream, Activations& activations, const TokenBatch& batch,
                const GradientsReady& ready) const;

  /// Logits (B, V) of the last of T new positions; keys and values go to the caches. `visit` may be
  /// empty.
  void forward_cached(Stream& stream, Activations& activations, const ConstTensor& tokens,
                      std::int64_t first_position, std::vector<BlockCache>& caches,
                      const Tensor& logits, const Tensor& last_hidden,
                      const AttentionVisitor& visit = {}) const;

 private:
  void forward_blocks(Stream& stream, Activations& activations, const ConstTensor& tokens,
                      const RowPlaces& places, std::vector<BlockCache>* caches,
                      const AttentionVisitor& visit) const;
  void enter_block(Stream& stream, Activations& activations, int index) const;

  Architecture parts_;
  DType dtype_;
};

}  // namespace ssmax::model
