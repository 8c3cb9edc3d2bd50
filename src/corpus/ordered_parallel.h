#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace ssmax::corpus {

/// `requested` threads, or all cores for 0.
inline int thread_count(int requested) {
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  return requested > 0 ? requested : std::max(1, cores);
}

/// Runs work(item) on `threads` threads, for items that produce() hands out, and gives the results
/// to consume() in the order of the items. produce and consume run on the calling thread; at most
/// 4 items per thread are held. make_work() is called once per thread and gives its own work.
/// The first exception of work by that order ends all and is thrown here, as is one of produce or
/// consume.
template <class Produce, class MakeWork, class Consume>
void ordered_parallel(int threads, Produce&& produce, MakeWork&& make_work, Consume&& consume) {
  using Item = typename std::invoke_result_t<Produce>::value_type;
  using Work = std::invoke_result_t<MakeWork>;
  using Result = std::invoke_result_t<Work&, Item>;
  struct Slot {
    Item item;
    std::optional<Result> result;
    std::exception_ptr error;
  };

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::unique_ptr<Slot>> slots;  // in order; the first `started` - `finished` are taken
  std::int64_t started = 0, finished = 0;
  bool stop = false;

  const auto run = [&] {
    std::optional<Work> work;
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return stop || started - finished < std::ssize(slots); });
      if (stop) return;
      Slot& slot = *slots[static_cast<std::size_t>(started - finished)];
      ++started;
      lock.unlock();
      std::optional<Result> result;
      std::exception_ptr error;
      try {
        if (!work) work.emplace(make_work());
        result.emplace((*work)(std::move(slot.item)));
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      slot.result = std::move(result);
      slot.error = std::move(error);
      changed.notify_all();
    }
  };

  std::vector<std::thread> workers;
  // Ends the threads on every way out, before the variables they use go away.
  struct Join {
    std::mutex& mutex;
    std::condition_variable& changed;
    bool& stop;
    std::vector<std::thread>& workers;
    ~Join() {
      {
        const std::lock_guard lock(mutex);
        stop = true;
      }
      changed.notify_all();
      for (std::thread& worker : workers) worker.join();
    }
  } join{mutex, changed, stop, workers};
  for (int i = 0; i < threads; ++i) workers.emplace_back(run);

  bool ended = false;
  while (true) {
    while (!ended && std::ssize(slots) < 4 * std::int64_t{threads}) {
      std::optional<Item> item = produce();
      if (!item) {
        ended = true;
        break;
      }
      auto slot = std::make_unique<Slot>(Slot{std::move(*item), std::nullopt, nullptr});
      const std::lock_guard lock(mutex);
      slots.push_back(std::move(slot));
      changed.notify_all();
    }
    if (slots.empty()) return;
    std::unique_ptr<Slot> first;
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return slots.front()->result || slots.front()->error; });
      first = std::move(slots.front());
      slots.pop_front();
      ++finished;
    }
    if (first->error) std::rethrow_exception(first->error);
    consume(std::move(*first->result));
  }
}

}  // namespace ssmax::corpus
