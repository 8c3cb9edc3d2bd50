#include "train/validation.h"

#include <algorithm>
#include <vector>

#include "base/clock.h"

namespace ssmax::train {

Validation::Validation(const RunConfig& config, std::int64_t micro_batch)
    : config_(config.validation),
      loader_(corpus::sequential_loader(config.data, config.data.validation,
                                        config.model.vocab_size, micro_batch)) {}

bool Validation::is_due(std::int64_t step, std::int64_t steps) const {
  const std::int64_t every = config_.every_steps;
  return every > 0 && (step % every == 0 || step == steps);
}

ValidationMetrics Validation::measure(device::Stream& stream, evaluation::TokenLosses& losses,
                                      comm::Communicator& ranks, std::int64_t step,
                                      const std::function<void()>& beat) {
  const base::Stopwatch watch;
  const std::int64_t whole = loader_.samples() / loader_.options().batch_sequences;
  const std::int64_t batches = std::min(config_.batches, std::max<std::int64_t>(1, whole));
  double values[] = {0.0, 0.0};  // nats, tokens
  for (std::int64_t batch = ranks.rank(); batch < batches; batch += ranks.size()) {
    const evaluation::LossSum sum = evaluation::batch_loss(stream, losses, loader_, batch);
    values[0] += sum.nats;
    values[1] += static_cast<double>(sum.tokens);
    beat();
  }
  const std::vector<double> all = ranks.gather_values(values);
  double nats = 0.0;
  double tokens = 0.0;
  for (std::size_t i = 0; i < all.size(); i += 2) {
    nats += all[i];
    tokens += all[i + 1];
  }
  ValidationMetrics metrics;
  metrics.step = step;
  metrics.loss = nats / tokens;
  metrics.tokens = static_cast<std::int64_t>(tokens);
  metrics.seconds = watch.seconds();
  return metrics;
}

}  // namespace ssmax::train
