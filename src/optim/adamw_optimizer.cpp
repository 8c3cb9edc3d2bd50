#include "optim/adamw_optimizer.h"

#include <cmath>
#include <stdexcept>

#include "kernels/norm_squared/norm_squared.h"

namespace ssmax::optim {

namespace {

void require(bool condition, const char* mistake) {
  if (!condition) throw std::logic_error(mistake);
}

double to_host(Stream& stream, const ConstTensor& scalar) {
  return device::dispatch(scalar.dtype(), [&]<class T>(device::Tag<T>) {
    T value{};
    device::copy(stream, device::view(&value, {1}), scalar);
    stream.synchronize();
    return static_cast<double>(value);
  });
}

}  // namespace

AdamwOptimizer::AdamwOptimizer(const ParameterSet& parameters, const OptimizerConfig& config,
                               Arena& arena)
    : parameters_(&parameters),
      config_(config),
      step_counts_(static_cast<std::size_t>(parameters.count())) {
  const Tensor weights = parameters.flat_master();
  const ConstTensor gradients = parameters.flat_gradients();
  require(!gradients.empty(), "AdamwOptimizer needs a ParameterSet with gradients");
  arrays_ = {.weights = weights,
             .first_moment = arena.allocate("first moments", weights.dtype(), weights.shape()),
             .second_moment = arena.allocate("second moments", weights.dtype(), weights.shape()),
             .compute = parameters.has_compute_copy() ? parameters.flat_compute() : Tensor{},
             .gradients = gradients};
  norm_squared_ = arena.allocate("gradient norm", device::DType::f64, {1});
  scale_ = arena.allocate("gradient norm", gradients.dtype(), {1});
  segments_.reserve(step_counts_.size());
}

void AdamwOptimizer::measure(Stream& stream) {
  require(state_ != Norms::unread_and_updated, "read() must follow step()");
  kernels::norm_squared(stream, norm_squared_, arrays_.gradients);
  kernels::clip_scale(stream, scale_, norm_squared_, config_.clip_norm);
  state_ = Norms::unread;
}

void AdamwOptimizer::update(Stream& stream, double learning_rate) {
  require(state_ == Norms::unread || state_ == Norms::read, "measure() must come before update()");
  kernels::adamw(stream, arrays_, scale_, segments(),
                 {.learning_rate = learning_rate,
                  .beta1 = config_.beta1,
                  .beta2 = config_.beta2,
                  .eps = config_.eps});
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
  norms_.gradient_norm = std::sqrt(to_host(stream, norm_squared_));
  norms_.clip_factor = to_host(stream, scale_);
  norms_.finite = std::isfinite(norms_.clip_factor);
  if (state_ == Norms::unread_and_updated) {
    state_ = Norms::unknown;
    if (norms_.finite) count_step();
  } else {
    state_ = Norms::read;
  }
  return norms_;
}

void AdamwOptimizer::set_step_count(int index, std::int64_t count) {
  require(count >= 0, "a step count is not negative");
  step_counts_.at(static_cast<std::size_t>(index)) = count;
}

std::span<const kernels::AdamwSegment> AdamwOptimizer::segments() {
  segments_.clear();
  std::int64_t previous_count = -1;
  for (int index = 0; index < parameters_->count(); ++index) {
    const auto i = static_cast<std::size_t>(index);
    const double decay = parameters_->specs()[i].decays() ? config_.weight_decay : 0.0;
    const std::int64_t count = step_counts_[i];
    const params::ElementRange range = parameters_->range(index);
    if (!segments_.empty() && segments_.back().weight_decay == decay && previous_count == count) {
      segments_.back().end = range.end;  // the gap between them is zero and stays so
      continue;
    }
    const auto t = static_cast<double>(count + 1);
    segments_.push_back({.begin = range.begin,
                         .end = range.end,
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
