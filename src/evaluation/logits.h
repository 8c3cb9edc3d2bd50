#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "corpus/loader.h"
#include "model/model.h"

namespace ssmax::evaluation {

/// Tokens and logits of every position: what another program's forward is compared with.
struct SequenceLogits {
  std::vector<std::int32_t> tokens;  // (N, T)
  std::vector<float> logits;         // (N, T, V)
};

/// Of the loader's next `sequences`, N, a multiple of its batch. `progress` is told the tokens of
/// every batch.
SequenceLogits all_logits(device::Stream& stream, const model::Model& model, corpus::Loader& loader,
                          std::int64_t sequences,
                          const std::function<void(std::int64_t tokens)>& progress);

}  // namespace ssmax::evaluation
