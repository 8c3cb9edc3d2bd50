#include "evaluation/token_losses.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <numeric>

#include "base/errors.h"
#include "device/to_host.h"
#include "kernels/cross_entropy/cross_entropy.h"

namespace ssmax::evaluation {

namespace {

static_assert(corpus::kNoTarget == kernels::kIgnoredTarget);

using device::DType;
using device::Tensor;

Tensor copy_of(Stream& stream, std::span<const std::int32_t> values, const Tensor& destination) {
  device::copy(stream, destination, device::view(values.data(), destination.shape()));
  return destination;
}

/// 97.5 % quantile of Student's t: the normal one and the first terms of Cornish and Fisher's
/// expansion, within 0.2 % from five degrees of freedom on (Abramowitz and Stegun, 26.7.5).
double student_quantile(std::int64_t degrees) {
  if (degrees < 5) {
    constexpr std::array<double, 4> kFew = {12.706, 4.303, 3.182, 2.776};
    return degrees < 1 ? 0.0 : kFew[static_cast<std::size_t>(degrees - 1)];
  }
  const double z = 1.959964;
  const auto v = static_cast<double>(degrees);
  const double z3 = z * z * z;
  const double z5 = z3 * z * z;
  return z + (z3 + z) / (4 * v) + (5 * z5 + 16 * z3 + 3 * z) / (96 * v * v) +
         (3 * z5 * z * z + 19 * z5 + 17 * z3 - 15 * z) / (384 * v * v * v);
}

}  // namespace

DeviceBatch::DeviceBatch(std::int64_t batch, std::int64_t length, device::Arena& arena)
    : tokens_(arena.allocate("tokens", DType::i32, {batch, length})),
      targets_(arena.allocate("tokens", DType::i32, {batch, length})),
      first_key_(arena.allocate("tokens", DType::i32, {batch, length})) {}

model::TokenBatch DeviceBatch::upload(Stream& stream, const corpus::Batch& batch) const {
  model::TokenBatch result;
  result.tokens = copy_of(stream, batch.tokens, tokens_);
  result.targets = copy_of(stream, batch.targets, targets_);
  if (!batch.first_key.empty()) result.first_key = copy_of(stream, batch.first_key, first_key_);
  return result;
}

TokenLosses::TokenLosses(const model::Model& model, model::Activations& activations,
                         device::Arena& arena)
    : model_(model),
      activations_(activations),
      batch_(activations.options.batch, activations.options.length, arena) {}

BatchLosses TokenLosses::next(Stream& stream, corpus::Loader& loader) {
  const corpus::Batch batch = loader.next();
  model_.forward(stream, activations_, batch_.upload(stream, batch));
  losses_ = device::to_host(stream, activations_.losses);
  return {batch.sequences, batch.length, losses_, batch.targets};
}

LossSum batch_loss(Stream& stream, TokenLosses& source, corpus::Loader& loader, std::int64_t index,
                   std::int64_t sequences) {
  loader.seek(index * loader.options().batch_sequences);
  const BatchLosses batch = source.next(stream, loader);
  const auto count = static_cast<std::size_t>(sequences * batch.length);
  const auto losses = batch.losses.first(count);
  const auto targets = batch.targets.first(count);
  LossSum sum;
  sum.nats = std::accumulate(losses.begin(), losses.end(), 0.0);  // 0 without a target
  sum.tokens = std::ssize(targets) - std::ranges::count(targets, corpus::kNoTarget);
  return sum;
}

double LossReport::bits_per_byte() const {
  return bytes == 0 ? 0.0
                    : nats_per_token * static_cast<double>(tokens) /
                          (std::numbers::ln2 * static_cast<double>(bytes));
}

std::vector<PositionBand> position_bands(std::int64_t length) {
  constexpr std::int64_t kFirst = 16;
  constexpr double kPerDoubling = 2.0;
  std::vector<PositionBand> bands;
  for (std::int64_t begin = 0; begin < length;) {
    const double step = std::exp2(static_cast<double>(bands.size()) / kPerDoubling);
    const auto reach = static_cast<std::int64_t>(std::lround(static_cast<double>(kFirst) * step));
    bands.emplace_back();
    bands.back().begin = begin;
    bands.back().end = std::min(length, reach);
    begin = bands.back().end;
  }
  return bands;
}

void Moments::add(double value) {
  sum += value;
  squares += value * value;
  ++count;
}

double Moments::mean() const { return count == 0 ? 0.0 : sum / static_cast<double>(count); }

double Moments::standard_error() const {
  if (count < 2) return 0.0;
  const auto n = static_cast<double>(count);
  const double variance = std::max(0.0, (squares - sum * sum / n) / (n - 1.0));
  return std::sqrt(variance / n);
}

LossStatistics::LossStatistics(std::int64_t length)
    : positions_(static_cast<std::size_t>(length)),
      bands_(position_bands(length)),
      band_means_(bands_.size()) {}

void LossStatistics::add(const BatchLosses& batch, const TokenBytes& bytes) {
  const auto length = static_cast<std::size_t>(batch.length);
  for (std::size_t b = 0; b < static_cast<std::size_t>(batch.sequences); ++b) {
    const auto losses = batch.losses.subspan(b * length, length);
    const auto targets = batch.targets.subspan(b * length, length);
    Moments sequence;
    for (std::size_t i = 0; i < bands_.size(); ++i) {
      Moments band;
      for (auto t = static_cast<std::size_t>(bands_[i].begin);
           t < static_cast<std::size_t>(bands_[i].end); ++t) {
        if (targets[t] == corpus::kNoTarget) continue;
        positions_[t].add(losses[t]);
        band.add(losses[t]);
        sequence.add(losses[t]);
        if (bytes) bytes_ += bytes(targets[t]);
      }
      if (band.count > 0) band_means_[i].add(band.mean());
    }
    ++sequences_;
    tokens_ += sequence.count;
    sum_ += sequence.sum;
    if (sequence.count > 0) sequence_means_.add(sequence.mean());
  }
}

TokenBytes token_bytes(const corpus::Tokenizer& tokenizer) {
  std::vector<std::int64_t> bytes;
  for (std::int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    bytes.push_back(
        tokenizer.is_special(id) ? 0 : static_cast<std::int64_t>(tokenizer.token(id).size()));
  }
  return [bytes = std::move(bytes), name = tokenizer.name()](std::int32_t token) {
    const auto id = static_cast<std::size_t>(token);
    if (id < bytes.size()) return bytes[id];
    throw base::Error(base::ErrorKind::data,
                      "the data holds the token id " + std::to_string(token) + ", the tokenizer " +
                          name + " has " + std::to_string(bytes.size()) +
                          " ids; name the one that made the data with --tokenizer");
  };
}

LossReport LossStatistics::loss() const {
  LossReport report;
  report.tokens = tokens_;
  report.bytes = bytes_;
  report.nats_per_token = tokens_ == 0 ? 0.0 : sum_ / static_cast<double>(tokens_);
  report.standard_error = sequence_means_.standard_error();
  return report;
}

PositionReport LossStatistics::positions() const {
  PositionReport report;
  report.sequences = sequences();
  for (const Moments& position : positions_) {
    report.mean.push_back(position.mean());
    report.standard_error.push_back(position.standard_error());
  }
  report.bands = bands_;
  for (std::size_t i = 0; i < bands_.size(); ++i) {
    PositionBand& band = report.bands[i];
    band.mean = band_means_[i].mean();
    band.standard_error = band_means_[i].standard_error();
    const double reach = student_quantile(band_means_[i].count - 1) * band.standard_error;
    band.low = band.mean - reach;
    band.high = band.mean + reach;
  }
  return report;
}

LossStatistics measure_losses(Stream& stream, const model::Model& model, corpus::Loader& loader,
                              std::int64_t sequences, const TokenBytes& bytes,
                              const std::function<void(std::int64_t tokens)>& progress) {
  const std::int64_t batch = loader.options().batch_sequences;
  const std::int64_t length = loader.options().sequence_length;
  device::Arena arena(stream.device());
  model::Activations activations = model.evaluation_activations(batch, length, arena);
  TokenLosses losses(model, activations, arena);
  LossStatistics statistics(length);
  while (statistics.sequences() < sequences) {
    statistics.add(losses.next(stream, loader), bytes);
    progress(batch * length);
  }
  return statistics;
}

}  // namespace ssmax::evaluation
