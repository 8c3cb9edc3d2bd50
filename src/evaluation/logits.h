#pragma once

#include <span>

#include "model/model.h"

namespace ssmax::evaluation {

/// Logits (M, V) of every position of a batch, on the host: what another program's forward is
/// compared with.
void all_logits(device::Stream& stream, std::span<float> logits, const model::Model& model,
                model::Activations& activations, const model::TokenBatch& batch);

}  // namespace ssmax::evaluation
