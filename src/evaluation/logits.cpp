#include "evaluation/logits.h"

#include "kernels/cast/cast.h"

namespace ssmax::evaluation {

void all_logits(device::Stream& stream, std::span<float> logits, const model::Model& model,
                model::Activations& activations, const model::TokenBatch& batch) {
  const device::Tensor host =
      device::view(logits.data(), device::Shape{activations.rows(), activations.logits.extent(1)});
  model.forward(stream, activations, batch,
                [&](std::int64_t first_row, const device::ConstTensor& part) {
                  kernels::cast(stream, host.rows(first_row, part.extent(0)), part);
                });
  stream.synchronize();
}

}  // namespace ssmax::evaluation
