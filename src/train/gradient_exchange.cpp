#include "train/gradient_exchange.h"

#include <chrono>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/errors.h"

namespace ssmax::train {

GradientExchange::GradientExchange(std::unique_ptr<comm::Communicator> channel,
                                   const params::ParameterSet& parameters, comm::Wire wire)
    : parameters_(parameters),
      wire_(wire),
      sharded_(parameters.storage().optimizer == params::OptimizerState::sharded),
      channel_(std::move(channel)),
      stream_(parameters.flat_gradients().device(), device::Priority::high),
      updated_(stream_.device()) {
  if (!channel_) return;
  for (int section = 0; section < parameters.sections(); ++section) {
    complete_.emplace_back(stream_.device());
  }
  thread_ = std::thread([this] { run(); });
}

GradientExchange::~GradientExchange() {
  if (!thread_.joinable()) return;
  queue({Work::stop});
  thread_.join();
}

void GradientExchange::watch(double timeout_seconds, OnWait on_wait) {
  on_wait_ = std::move(on_wait);
  if (!channel_) return;
  channel_->set_timeout(timeout_seconds);
  channel_->set_on_wait([this](const comm::Waiting& waiting) {
    if (on_wait_) on_wait_("the exchange of gradients and weights", waiting);
  });
}

void GradientExchange::section_ready(device::Stream& stream, int section) {
  if (!channel_) return;
  device::Event& complete = complete_[static_cast<std::size_t>(section)];
  complete.record(stream);
  queue({Work::sum, section, &complete});
}

void GradientExchange::finish_sums() {
  if (channel_) wait();
}

void GradientExchange::share_weights(device::Stream& stream) {
  if (!channel_ || !sharded_) return;
  updated_.record(stream);
  for (int section = 0; section < parameters_.sections(); ++section) {
    queue({Work::gather, section, &updated_});
  }
  if (!parameters_.flat_exact().empty()) queue({Work::sum_exact, 0, &updated_});
  wait();
}

GradientExchange::Times GradientExchange::take_times() {
  const std::lock_guard lock(mutex_);
  return std::exchange(times_, {});
}

void GradientExchange::queue(Job job) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(job);
  }
  changed_.notify_all();
}

void GradientExchange::wait() {
  const base::Stopwatch watch;
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return jobs_.empty() && !busy_; });
  times_.exposed += watch.seconds();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void GradientExchange::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return !jobs_.empty(); });
    const Job job = jobs_.front();
    jobs_.pop_front();
    if (job.work == Work::stop) return;
    busy_ = true;
    const bool failed = error_ != nullptr;  // nothing after an error would meet the other ranks
    lock.unlock();
    double seconds = 0.0;
    std::exception_ptr error;
    try {
      if (!failed) {
        job.after->wait();
        const base::Stopwatch watch;
        carry_out(job);
        seconds = watch.seconds();
      }
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error) error_ = error;
    times_.communication += seconds;
    busy_ = false;
    changed_.notify_all();
  }
}

void GradientExchange::carry_out(const Job& job) {
  const params::ElementRange range = parameters_.section(job.section);
  const auto rows = [&](const device::Tensor& flat) {
    return flat.rows(range.begin, range.count());
  };
  const std::string section = "section " + std::to_string(job.section);
  switch (job.work) {
    case Work::sum:
      return base::within("gradients of " + section, [&] {
        const device::Tensor gradients = rows(parameters_.flat_gradients());
        if (sharded_) {
          channel_->scatter_sum(stream_, gradients, wire_);
        } else {
          channel_->sum(stream_, gradients, wire_);
        }
      });
    case Work::gather:
      return base::within("weights of " + section,
                          [&] { channel_->gather(stream_, rows(parameters_.flat_compute())); });
    case Work::sum_exact:
      parameters_.copy_owned_exact(stream_);
      return channel_->sum(stream_, parameters_.flat_exact(), comm::Wire::full);
    case Work::stop:
      return;
  }
}

}  // namespace ssmax::train
