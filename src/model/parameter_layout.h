#pragma once

#include <vector>

#include "model/model_config.h"
#include "params/parameter_set.h"

namespace ssmax::model {

/// Index of a parameter in the ParameterSet; kAbsent where the architecture has none.
inline constexpr int kAbsent = -1;

struct NormParameters {
  int weight = kAbsent;
  int bias = kAbsent;
};

/// A weight matrix (N, K), possibly several packed on top of each other, and its bias.
struct LinearParameters {
  int weight = kAbsent;
  int bias = kAbsent;
  int packed = 1;
};

struct BlockParameters {
  NormParameters attention_norm;
  LinearParameters qkv;
  LinearParameters attention_output;
  NormParameters mlp_norm;
  LinearParameters mlp_input;  ///< gate and up, or up alone
  LinearParameters mlp_output;
  std::vector<int> normalizer;  ///< in the order of AttentionNormalizer::parameters()
};

/// Rows of the output layer in memory, and of logits: 16-byte accesses and whole tiles of a GPU's
/// matrix products need extents that a vocabulary of 50,257 does not have.
constexpr std::int64_t padded_vocabulary(std::int64_t vocab_size) {
  constexpr std::int64_t kMultiple = 64;
  return (vocab_size + kMultiple - 1) / kMultiple * kMultiple;
}

/// Where every parameter of the architecture is. Sections: 0 embeddings and parameters shared by
/// all layers, 1 + i block i, last the final norm and the output layer.
struct ParameterLayout {
  std::vector<params::ParameterSpec> specs;
  int token_embedding = kAbsent;
  int position_embedding = kAbsent;
  std::vector<BlockParameters> blocks;
  NormParameters final_norm;
  int output = kAbsent;  ///< the token embedding itself when tied

  int section_of_block(int block) const { return 1 + block; }
  int section_of_head() const { return 1 + static_cast<int>(blocks.size()); }
};

ParameterLayout make_parameter_layout(const ModelConfig& config,
                                      const std::vector<kernels::NormalizerParameter>& normalizer);

}  // namespace ssmax::model
