#include "optim/adamw_optimizer.h"

#include <cmath>
#include <numeric>
#include <stdexcept>

#include "device/to_host.h"
#include "kernels/norm_squared/norm_squared.h"

namespace ssmax::optim {

namespace {

using device::DType;

void require(bool condition, const char* mistake) {
  if (!condition) throw std::logic_error(mistake);
}

}  // namespace

AdamwOptimizer::AdamwOptimizer(const ParameterSet& parameters, const OptimizerConfig& config,
                               Arena& arena)
    : parameters_(&parameters),
      config_(config),
      step_counts_(static_cast<std::size_t>(parameters.count())) {
  const ConstTensor gradients = parameters.flat_gradients();
  require(!gradients.empty(), "AdamwOptimizer needs a ParameterSet with gradients");
  const DType dtype = parameters.flat_master().dtype();
  const params::Piece& last = parameters.updated().back();
  const device::Shape updated{last.offset + last.range.count()};
  first_moment_ = arena.allocate("first moments", dtype, updated);
  second_moment_ = arena.allocate("second moments", dtype, updated);
  const auto pieces = static_cast<std::int64_t>(parameters.owned().size());
  norm_parts_ = arena.allocate("gradient norm", DType::f64, {pieces});
  norm_squared_ = arena.allocate("gradient norm", DType::f64, {1});
  scale_ = arena.allocate("gradient norm", gradients.dtype(), {1});
  segments_.reserve(step_counts_.size());
}

void AdamwOptimizer::measure(Stream& stream) {
  require(state_ != Norms::unread_and_updated, "read() must follow step()");
  const bool alone = parameters_->storage().ranks == 1;
  std::int64_t part = 0;
  for (const params::Piece& piece : parameters_->owned()) {
    kernels::norm_squared(
        stream, alone ? norm_squared_ : norm_parts_.rows(part++, 1),
        parameters_->flat_gradients().rows(piece.range.begin, piece.range.count()));
  }
  if (!alone) {
    state_ = Norms::unknown;
    return;
  }
  kernels::clip_scale(stream, scale_, norm_squared_, config_.clip_norm);
  state_ = Norms::unread;
}

double AdamwOptimizer::own_norm_squared(Stream& stream) const {
  if (parameters_->storage().ranks == 1) return device::to_host(stream, norm_squared_).front();
  std::vector<double> parts(static_cast<std::size_t>(norm_parts_.elements()));
  device::copy(stream, device::view(parts.data(), norm_parts_.shape()), norm_parts_);
  stream.synchronize();
  return std::accumulate(parts.begin(), parts.end(), 0.0);
}

void AdamwOptimizer::complete(Stream& stream, double norm_squared) {
  device::copy(stream, norm_squared_, device::view(&norm_squared, {1}));
  kernels::clip_scale(stream, scale_, norm_squared_, config_.clip_norm);
  stream.synchronize();
  state_ = Norms::unread;
}

kernels::AdamwArrays AdamwOptimizer::arrays_of(const params::Piece& piece) const {
  const auto [begin, end] = piece.range;
  kernels::AdamwArrays arrays;
  arrays.weights = parameters_->master_of(piece);
  arrays.first_moment = first_moment_.rows(piece.offset, end - begin);
  arrays.second_moment = second_moment_.rows(piece.offset, end - begin);
  if (parameters_->has_compute_copy()) {
    arrays.compute = parameters_->flat_compute().rows(begin, end - begin);
  }
  arrays.gradients = parameters_->flat_gradients().rows(begin, end - begin);
  return arrays;
}

void AdamwOptimizer::update(Stream& stream, double learning_rate) {
  require(state_ == Norms::unread || state_ == Norms::read, "measure() must come before update()");
  for (const params::Piece& piece : parameters_->updated()) {
    kernels::adamw(stream, arrays_of(piece), scale_, segments(piece),
                   {.learning_rate = learning_rate,
                    .beta1 = config_.beta1,
                    .beta2 = config_.beta2,
                    .eps = config_.eps});
  }
  if (state_ == Norms::unread) {
    state_ = Norms::unread_and_updated;  // read() learns whether the device took the step
    return;
  }
  state_ = Norms::unknown;
  if (norms_.finite) count_step();
}

void AdamwOptimizer::step(Stream& stream, double learning_rate) {
  measure(stream);
  update(stream, learning_rate);
}

StepNorms AdamwOptimizer::read(Stream& stream) {
  require(state_ == Norms::unread || state_ == Norms::unread_and_updated,
          "measure() must come before read()");
  norms_.gradient_norm = std::sqrt(device::to_host(stream, norm_squared_).front());
  norms_.clip_factor = device::to_host(stream, scale_).front();
  norms_.finite = std::isfinite(norms_.clip_factor);
  if (state_ == Norms::unread_and_updated) {
    state_ = Norms::unknown;
    if (norms_.finite) count_step();
  } else {
    state_ = Norms::read;
  }
  return norms_;
}

void AdamwOptimizer::set_step_counts(std::span<const std::int64_t> counts) {
  require(counts.size() == step_counts_.size(), "one step count for each parameter");
  step_counts_.assign(counts.begin(), counts.end());
}

std::span<const kernels::AdamwSegment> AdamwOptimizer::segments(const params::Piece& piece) {
  segments_.clear();
  std::int64_t previous_count = -1;
  for (int index = 0; index < parameters_->count(); ++index) {
    const auto i = static_cast<std::size_t>(index);
    const params::ElementRange range = intersection(piece.range, parameters_->range(index));
    if (range.empty()) continue;
    const double decay = parameters_->specs()[i].decays() ? config_.weight_decay : 0.0;
    const std::int64_t count = step_counts_[i];
    const std::int64_t end = range.end - piece.range.begin;
    if (!segments_.empty() && segments_.back().weight_decay == decay && previous_count == count) {
      segments_.back().end = end;  // the gap between them is zero and stays so
      continue;
    }
    const auto t = static_cast<double>(count + 1);
    segments_.push_back({.begin = range.begin - piece.range.begin,
                         .end = end,
                         .weight_decay = decay,
                         .bias_correction1 = 1.0 - std::pow(config_.beta1, t),
                         .bias_correction2 = 1.0 - std::pow(config_.beta2, t)});
    previous_count = count;
  }
  return segments_;
}

void AdamwOptimizer::count_step() {
  for (std::int64_t& count : step_counts_) ++count;
}

}  // namespace ssmax::optim
