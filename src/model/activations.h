#pragma once

#include <vector>

#include "device/arena.h"
#include "kernels/attention/normalizer.h"
#include "kernels/layer_norm/layer_norm.h"
#include "model/model_config.h"

namespace ssmax::model {

using device::Arena;
using device::ConstTensor;
using device::DType;
using device::Shape;
using device::Stream;
using device::Tensor;

// B batch, T time, M = B T rows, H heads, G key/value heads, D head size, C channels, F MLP width,
// V vocabulary, S padded_vocabulary(V).

enum class Purpose : std::uint8_t { training, evaluation };

/// What a block keeps for its backward.
enum class Recompute : std::uint8_t {
  none,   ///< every activation of every block
  block,  ///< the input of every block; the rest is computed again, bit-equal
};
constexpr auto enum_names(Recompute) {
  return std::to_array<base::EnumName<Recompute>>(
      {{Recompute::none, "none"}, {Recompute::block, "block"}});
}

struct ActivationOptions {
  std::int64_t batch = 1;
  std::int64_t length = 1;
  std::int64_t positions = 0;  ///< last position + 1 with a KV cache; 0 = length
  DType dtype = DType::f32;
  Purpose purpose = Purpose::training;
  Recompute recompute = Recompute::none;
};

/// What one block computes and its backward reads.
struct BlockActivations {
  Tensor input;                   // (M, C) residual stream
  kernels::LayerNormSaved norm1;  // (M); rms_norm uses rstd alone
  Tensor normed1;                 // (M, C)
  Tensor qkv;                     // (B, T, H + 2 G, D), after RoPE
  Tensor row_scale;               // (B, H, T)
  kernels::AttentionSaved attention_rows;
  Tensor attention;               // (B, T, H, D)
  Tensor middle;                  // (M, C) residual stream between attention and MLP
  kernels::LayerNormSaved norm2;  // (M)
  Tensor normed2;                 // (M, C)
  Tensor mlp_input;               // (M, 2 F) gate and up, or (M, F)
  Tensor mlp_hidden;              // (M, F)
};

/// Gradients in flight; one set serves all blocks.
struct GradientBuffers {
  Tensor residual;    // (M, C)
  Tensor normed;      // (M, C)
  Tensor attention;   // (B, T, H, D)
  Tensor qkv;         // (B, T, H + 2 G, D)
  Tensor row_scale;   // (B, H, T)
  Tensor mlp_hidden;  // (M, F), empty with GELU
  Tensor mlp_input;   // (M, 2 F) or (M, F)
};

/// All memory of a forward, and of a backward where the purpose is training, for one (B, T).
struct Activations {
  Activations(const ModelConfig& config, std::int64_t row_values, const ActivationOptions& options,
              Arena& arena);

  ActivationOptions options;
  std::vector<BlockActivations> blocks;
  Tensor delta;                        // (M, C) what the last step adds to the residual stream
  Tensor output;                       // (M, C) residual stream after the last block
  kernels::LayerNormSaved final_norm;  // (M)
  Tensor final_normed;                 // (M, C)
  Tensor logits;                       // (rows at a time, S)
  Tensor losses;                       // (M) nats
  GradientBuffers gradients;
  Tensor rope_table;    // (positions, D), empty without RoPE
  Tensor alibi_slopes;  // (H), empty without ALiBi

  std::int64_t rows() const { return options.batch * options.length; }

 private:
  void fill_position_tables(const ModelConfig& config) const;
};

/// Rows of logits that are held at a time.
std::int64_t logits_rows(device::Device device, std::int64_t rows, std::int64_t columns);

/// Press, Smith and Lewis, "Train Short, Test Long", 2022: slopes 2^(-8 i / H), i = 1..H, for H a
/// power of two, and the paper's interleaving otherwise.
std::vector<double> alibi_slopes(std::int64_t heads);

}  // namespace ssmax::model
