#include "evaluation/logits.h"

#include <algorithm>
#include <vector>

#include "device/to_host.h"

namespace ssmax::evaluation {

void all_logits(device::Stream& stream, std::span<float> logits, const model::Model& model,
                model::Activations& activations, const model::TokenBatch& batch) {
  const std::int64_t width = model.config().vocab_size;
  model.forward(stream, activations, batch,
                [&](std::int64_t first_row, const device::ConstTensor& part) {
                  const std::vector<double> values = device::to_host(stream, part);
                  const std::int64_t stride = part.extent(1);
                  for (std::int64_t row = 0; row < part.extent(0); ++row) {
                    const auto begin = values.begin() + row * stride;
                    std::transform(begin, begin + width, logits.begin() + (first_row + row) * width,
                                   [](double value) { return static_cast<float>(value); });
                  }
                });
}

}  // namespace ssmax::evaluation
