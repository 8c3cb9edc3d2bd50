#include "train/validation.h"

#include <algorithm>
#include <vector>

#include "base/checked.h"
#include "base/clock.h"

namespace ssmax::train {

namespace {

corpus::LoaderOptions loader_options(const RunConfig& config, std::int64_t micro_batch) {
  corpus::LoaderOptions options = corpus::sequential_loader(config.data, config.data.validation,
                                                            config.model.vocab_size, micro_batch);
  options.least_samples = 1;
  return options;
}

}  // namespace

Validation::Validation(const RunConfig& config, std::int64_t micro_batch)
    : config_(config.validation),
      loader_(loader_options(config, micro_batch)),
      sequences_(std::min(
          loader_.samples(),
          base::checked_product(config.validation.batches, config.training.batch_sequences))) {}

bool Validation::is_due(std::int64_t step, std::int64_t steps) const {
  const std::int64_t every = config_.every_steps;
  return every > 0 && (step % every == 0 || step == steps);
}

ValidationMetrics Validation::measure(device::Stream& stream, evaluation::TokenLosses& losses,
                                      comm::Communicator& ranks, std::int64_t step,
                                      const std::function<void()>& beat) {
  const base::Stopwatch watch;
  const std::int64_t micro_batch = loader_.options().batch_sequences;
  const std::int64_t batches = base::div_up(sequences_, micro_batch);
  double values[] = {0.0, 0.0};  // nats, tokens
  for (std::int64_t batch = ranks.rank(); batch < batches; batch += ranks.size()) {
    const std::int64_t count = std::min(micro_batch, sequences_ - batch * micro_batch);
    const evaluation::LossSum sum = evaluation::batch_loss(stream, losses, loader_, batch, count);
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
