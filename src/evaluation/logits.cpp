#include "evaluation/logits.h"

#include <algorithm>
#include <vector>

#include "device/to_host.h"

namespace ssmax::evaluation {

void all_logits(device::Stream& stream, std::span<float> logits, const model::Model& model,
                model::Activations& activations, const model::TokenBatch& batch) {
  const std::int64_t width = activations.logits.extent(1);
  model.forward(stream, activations, batch,
                [&](std::int64_t first_row, const device::ConstTensor& part) {
                  const std::vector<double> values = device::to_host(stream, part);
                  std::transform(values.begin(), values.end(), logits.begin() + first_row * width,
                                 [](double value) { return static_cast<float>(value); });
                });
}

}  // namespace ssmax::evaluation
