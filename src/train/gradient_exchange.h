#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "comm/communicator.h"
#include "params/parameter_set.h"

namespace ssmax::train {

/// Sums gradients over the ranks while backward goes on: a thread of its own takes each section as
/// soon as it is complete. With a sharded optimizer the sum goes to the owners only, and the
/// weights that they update come back. A rank alone has nothing to do and no thread.
class GradientExchange {
 public:
  /// Both must outlive the exchange. Collective.
  GradientExchange(comm::Communicator& ranks, const params::ParameterSet& parameters,
                   comm::Wire wire);
  /// Whatever was asked for must be finished.
  ~GradientExchange();
  GradientExchange(const GradientExchange&) = delete;
  GradientExchange& operator=(const GradientExchange&) = delete;

  /// How long a rank may be silent, and what to call while this one waits: from any thread, with
  /// what it waits for.
  using OnWait = std::function<void(const char* phase, const comm::Waiting& waiting)>;
  void watch(double timeout_seconds, OnWait on_wait);

  /// The gradients of a section are complete on this rank. In the same order on all.
  void section_ready(int section);
  /// Waits until every section is summed. Throws what went wrong in the thread.
  void finish_sums();
  /// After the update: what kernels read is up to date on every rank when it returns.
  void share_weights();

  /// Seconds since the last call.
  struct Times {
    double communication = 0.0;  ///< that the thread was at work
    double exposed = 0.0;        ///< of it, that finish_sums() and share_weights() waited
  };
  Times take_times();

 private:
  enum class Work : std::uint8_t { sum, gather, sum_exact, stop };
  struct Job {
    Work work = Work::stop;
    int section = 0;
  };

  void queue(Job job);
  void wait();
  void run();
  void carry_out(const Job& job);

  const params::ParameterSet& parameters_;
  comm::Wire wire_;
  bool sharded_;
  std::unique_ptr<comm::Communicator> channel_;  // null for a rank alone
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
