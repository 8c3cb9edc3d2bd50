#include "evaluation/logits.h"

#include "device/to_host.h"
#include "evaluation/token_losses.h"

namespace ssmax::evaluation {

SequenceLogits all_logits(device::Stream& stream, const model::Model& model, corpus::Loader& loader,
                          std::int64_t sequences,
                          const std::function<void(std::int64_t tokens)>& progress) {
  const std::int64_t batch = loader.options().batch_sequences;
  const std::int64_t length = loader.options().sequence_length;
  const std::int64_t vocab_size = model.config().vocab_size;
  device::Arena arena(stream.device());
  model::Activations activations = model.evaluation_activations(batch, length, arena);
  const DeviceBatch on_device(batch, length, arena);
  SequenceLogits all;
  all.logits.reserve(static_cast<std::size_t>(sequences * length * vocab_size));
  // Rows come in order, and columns behind the vocabulary are left out.
  const auto collect = [&](std::int64_t /*first_row*/, const device::ConstTensor& part) {
    const std::vector<double> values = device::to_host(stream, part);
    for (std::int64_t row = 0; row < part.extent(0); ++row) {
      const auto begin = values.begin() + row * part.extent(1);
      for (auto value = begin; value != begin + vocab_size; ++value) {
        all.logits.push_back(static_cast<float>(*value));
      }
    }
  };
  for (std::int64_t done = 0; done < sequences; done += batch) {
    const corpus::Batch next = loader.next();
    all.tokens.insert(all.tokens.end(), next.tokens.begin(), next.tokens.end());
    model.forward(stream, activations, on_device.upload(stream, next), collect);
    progress(batch * length);
  }
  return all;
}

}  // namespace ssmax::evaluation
