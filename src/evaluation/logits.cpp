#include "evaluation/logits.h"

#include <algorithm>

#include "kernels/cast/cast.h"
#include "kernels/linear/linear.h"

namespace ssmax::evaluation {

void all_logits(device::Stream& stream, std::span<float> logits, const model::Model& model,
                model::Activations& activations, const model::TokenBatch& batch) {
  model.forward(stream, activations, batch);
  const device::ConstTensor output = model.parameters().weight(model.parts().layout.output);
  const std::int64_t rows = activations.rows();
  const std::int64_t step = activations.logits.extent(0);
  const device::Tensor host =
      device::view(logits.data(), device::Shape{rows, activations.logits.extent(1)});
  for (std::int64_t row = 0; row < rows; row += step) {
    const std::int64_t count = std::min(step, rows - row);
    const device::Tensor part = activations.logits.rows(0, count);
    kernels::linear(stream, part, activations.final_normed.rows(row, count), output, {});
    kernels::cast(stream, host.rows(row, count), part);
  }
  stream.synchronize();
}

}  // namespace ssmax::evaluation
