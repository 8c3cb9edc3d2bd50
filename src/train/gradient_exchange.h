#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "comm/communicator.h"
#include "device/event.h"
#include "params/parameter_set.h"

namespace ssmax::train {

/// Sums gradients over the ranks while backward goes on: a thread of its own, on a stream of its
/// own, takes each section as soon as it is complete. With a sharded optimizer the sum goes to the
/// owners only, and the weights that they update come back. Without a channel, for a rank alone, it
/// has nothing to do and no thread.
///
/// Backward and the update are known by the events that are recorded behind them in the stream of
/// the caller; the sums and the weights are there when finish_sums() and share_weights() return.
class GradientExchange {
 public:
  /// `parameters` must outlive the exchange.
  GradientExchange(std::unique_ptr<comm::Communicator> channel,
                   const params::ParameterSet& parameters, comm::Wire wire);
  /// Whatever was asked for must be finished.
  ~GradientExchange();
  GradientExchange(const GradientExchange&) = delete;
  GradientExchange& operator=(const GradientExchange&) = delete;

  /// How long a rank may be silent, and what to call while this one waits: from any thread, with
  /// what it waits for.
  using OnWait = std::function<void(const char* phase, const comm::Waiting& waiting)>;
  void watch(double timeout_seconds, OnWait on_wait);

  /// The gradients of a section are complete on this rank when `stream` has done what it holds. In
  /// the same order on all.
  void section_ready(device::Stream& stream, int section);
  /// Waits until every section is summed. Throws what went wrong in the thread.
  void finish_sums();
  /// After the update, which `stream` may still be at: what kernels read is up to date on every
  /// rank when it returns.
  void share_weights(device::Stream& stream);

  /// Seconds since the last call.
  struct Times {
    double communication = 0.0;  ///< that the thread was at work, not waiting for the stream
    double exposed = 0.0;        ///< of it, that finish_sums() and share_weights() waited
  };
  Times take_times();

 private:
  enum class Work : std::uint8_t { sum, gather, sum_exact, stop };
  struct Job {
    Work work = Work::stop;
    int section = 0;
    const device::Event* after = nullptr;
  };

  void queue(Job job);
  void wait();
  void run();
  void carry_out(const Job& job);

  const params::ParameterSet& parameters_;
  comm::Wire wire_;
  bool sharded_;
  std::unique_ptr<comm::Communicator> channel_;  // null for a rank alone
  device::Stream stream_;                        // of the thread; its kernels go before backward's
  std::vector<device::Event> complete_;          // gradients of each section
  device::Event updated_;                        // weights
  OnWait on_wait_;

  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  bool busy_ = false;
  std::exception_ptr error_;
  Times times_;
  std::thread thread_;
};

}  // namespace ssmax::train
