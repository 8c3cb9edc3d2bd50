#include "simt/engine.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "cuda_runtime.h"
#include "fiber.h"
#include "race_checker.h"
#include "simt/device_memory.h"
#include "simt/races.h"
#include "simt/traffic.h"
#include "traffic_counter.h"

namespace ssmax::simt {

namespace {

std::string text_of(const Extent& e) {
  char text[64];
  std::snprintf(text, sizeof(text), "(%u, %u, %u)", e.x, e.y, e.z);
  return text;
}

std::string text_of(const Site& site) {
  return std::string(site.file_name()) + ":" + std::to_string(site.line());
}

bool same(const Site& a, const Site& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

/// Small generator for orders: xorshift64*.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ULL | 1) {}
  std::uint64_t below(std::uint64_t limit) {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return (state_ * 0x2545F4914F6CDD1DULL >> 33) % limit;
  }
  template <class Items>
  void shuffle(Items& items) {
    for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

 private:
  std::uint64_t state_;
};

struct Copy {
  void* to;
  const void* from;
  std::size_t bytes;
};

/// Of a block, static and dynamic memory together: a kernel that has asked by name may go beyond
/// what all may take.
std::size_t shared_limit(const Launch& launch) {
  return launch.asked_shared_bytes > 0 ? most_shared_bytes : kSharedBytes;
}

enum class State : unsigned char { ready, at_barrier, at_partial_barrier, in_warp, waiting, ended };

struct Thread {
  Fiber fiber;
  Extent index;
  unsigned linear = 0;
  State state = State::ready;
  Site site;
  const char* operation = "";
  std::vector<std::vector<Copy>> copies;          // the last group is open
  unsigned barrier = 0;                           // the number of the partial one
  const std::function<bool()>* passed = nullptr;  // what it waits for
};

/// Lanes on their way into one operation.
struct Meeting {
  Site site;
  const char* operation = "";
  unsigned mask = 0;
  unsigned arrived = 0;
  std::int64_t immediate = 0;
  Lanes lanes{};
};

struct StaticShared {
  explicit StaticShared(std::size_t bytes) : memory(bytes) {}

  GuardedBlock memory;
  std::uint64_t block = 0;  // the last that has asked for it
};

/// What src/device/shared_memory.cuh promises.
constexpr std::size_t kSharedAlignment = 256;

/// One CPU thread's block in flight; its fibers and memory are used again for every block.
class Block {
 public:
  void run(const Launch& launch, const Extent& index, std::uint64_t seed,
           const std::function<void()>& body);

  Thread& current() { return *current_; }
  bool running() const { return current_ != nullptr; }
  Extent index() const { return index_; }

  void wait_at_barrier(const Site& site);
  void wait_at_partial_barrier(const Site& site, unsigned number, unsigned threads);
  void wait_until(const Site& site, const char* operation, const std::function<bool()>& passed);
  BlockState& state(const std::function<std::unique_ptr<BlockState>()>& make);
  void meet(const Site& site, const char* operation, unsigned mask, std::int64_t immediate,
            void* lane, void (*compute)(const Lanes&));
  void* dynamic_shared() { return dynamic_ != nullptr ? dynamic_->data() : nullptr; }
  void* static_shared(const void* key, std::size_t bytes);
  void touch(Access access, const void* address, std::size_t bytes, const void* code);
  /// A copy of cp.async is there.
  void land(const Copy& copy);
  std::optional<Place> place_of(const void* address) const;

 private:
  static void thread_main(void* block);
  void pause(State state, const Site& site, const char* operation);
  void release_barrier();
  void wake_waiting();
  const GuardedBlock* shared_around(const void* address) const;
  Moment now() const;
  [[noreturn]] void report_deadlock();

  const std::function<void()>* body_ = nullptr;
  Extent index_;
  std::vector<std::unique_ptr<Thread>> threads_;
  unsigned count_ = 0;
  unsigned alive_ = 0;
  unsigned at_barrier_ = 0;
  Site barrier_site_;
  std::map<unsigned, unsigned> at_partial_barrier_;  // threads by number
  unsigned waiting_ = 0;
  std::unique_ptr<BlockState> state_;
  Thread* current_ = nullptr;
  std::vector<Thread*> ready_;
  std::vector<std::vector<Meeting>> meetings_;  // by warp
  std::size_t free_shared_ = 0;                 // for what is static
  // Shared memory serves block after block: mapping it takes longer than a small block.
  std::map<std::size_t, GuardedBlock> dynamic_of_size_;
  const GuardedBlock* dynamic_ = nullptr;  // of this block
  std::map<const void*, StaticShared> static_;
  std::uint64_t blocks_ = 0;  // so far
  // Of the block, and by warp.
  unsigned block_barriers_ = 0;
  std::vector<unsigned> warp_barriers_;
  bool in_operation_ = false;  // what a warp's operation reads is no access of a lane
  std::exception_ptr error_;
};

Block& block() {
  thread_local Block instance;
  return instance;
}

void Block::thread_main(void* self) {
  Block& block = *static_cast<Block*>(self);
  Thread& thread = *block.current_;
  try {
    (*block.body_)();
    if (std::any_of(thread.copies.begin(), thread.copies.end(),
                    [](const auto& group) { return !group.empty(); })) {
      fail("the thread ends with copies of cp.async that it has not waited for");
    }
    if (block.state_) block.state_->end_of_thread(thread.linear);
  } catch (...) {
    if (!block.error_) block.error_ = std::current_exception();
  }
  thread.state = State::ended;
  thread.fiber.leave();
}

void Block::run(const Launch& launch, const Extent& index, std::uint64_t seed,
                const std::function<void()>& body) {
  body_ = &body;
  index_ = index;
  count_ = static_cast<unsigned>(launch.block.count());
  alive_ = count_;
  at_barrier_ = 0;
  at_partial_barrier_.clear();
  waiting_ = 0;
  state_ = nullptr;
  block_barriers_ = 0;
  warp_barriers_.assign(count_ / kWarpSize, 0);
  in_operation_ = false;
  error_ = nullptr;
  meetings_.assign(count_ / kWarpSize, {});
  free_shared_ = shared_limit(launch) - launch.shared_bytes;
  ++blocks_;
  dynamic_ = nullptr;
  if (launch.shared_bytes > 0) {
    const auto [memory, is_new] =
        dynamic_of_size_.try_emplace(launch.shared_bytes, launch.shared_bytes, kSharedAlignment);
    if (!is_new) memory->second.fill();
    dynamic_ = &memory->second;
  }
  while (threads_.size() < count_) threads_.push_back(std::make_unique<Thread>());
  ready_.clear();
  blockIdx = {index.x, index.y, index.z};
  blockDim = {launch.block.x, launch.block.y, launch.block.z};
  gridDim = {launch.grid.x, launch.grid.y, launch.grid.z};
  for (unsigned i = 0; i < count_; ++i) {
    Thread& thread = *threads_[i];
    thread.index = {i % launch.block.x, i / launch.block.x % launch.block.y,
                    i / launch.block.x / launch.block.y};
    thread.linear = i;
    thread.state = State::ready;
    thread.copies.assign(1, {});
    thread.fiber.start(&Block::thread_main, this);
    ready_.push_back(&thread);
  }
  Random random(seed);
  std::vector<Thread*> round;
  while (alive_ > 0 && !error_) {
    if (waiting_ > 0) wake_waiting();
    if (error_) break;
    if (ready_.empty()) {
      try {
        report_deadlock();
      } catch (...) {
        error_ = std::current_exception();
      }
      break;
    }
    round.swap(ready_);
    ready_.clear();
    random.shuffle(round);
    for (Thread* thread : round) {
      current_ = thread;
      threadIdx = {thread->index.x, thread->index.y, thread->index.z};
      thread->fiber.enter();
      current_ = nullptr;
      if (error_) break;
      if (thread->state == State::ended) {
        --alive_;
        if (alive_ > 0 && at_barrier_ == alive_) release_barrier();
      }
    }
    round.clear();
  }
  if (counting) traffic_counter().meet_all();
  if (!error_ && state_) state_->end_of_block();
  if (error_) std::rethrow_exception(error_);
}

void Block::pause(State state, const Site& site, const char* operation) {
  Thread& thread = *current_;
  thread.state = state;
  thread.site = site;
  thread.operation = operation;
  thread.fiber.leave();
}

void Block::release_barrier() {
  if (counting) {
    traffic_counter().meet_all();
    traffic_counter().count("__syncthreads");
  }
  ++block_barriers_;
  at_barrier_ = 0;
  for (unsigned i = 0; i < count_; ++i) {
    if (threads_[i]->state != State::at_barrier) continue;
    threads_[i]->state = State::ready;
    ready_.push_back(threads_[i].get());
  }
}

void Block::wait_at_barrier(const Site& site) {
  if (at_barrier_++ == 0) {
    barrier_site_ = site;
  } else if (!same(barrier_site_, site)) {
    fail("divergent block: this thread is at the barrier at " + text_of(site) +
         ", others wait at the one at " + text_of(barrier_site_));
  }
  current_->state = State::at_barrier;
  if (at_barrier_ == alive_) release_barrier();
  // The last to arrive leaves as well, so that any thread may be the first behind the barrier.
  const State now = current_->state;
  pause(now, site, "__syncthreads");
}

void Block::wait_at_partial_barrier(const Site& site, unsigned number, unsigned threads) {
  if (number == 0 || number > 15 || threads % kWarpSize != 0 || threads > count_) {
    fail("a barrier of number " + std::to_string(number) + " for " + std::to_string(threads) +
         " threads; expected 1 to 15 and whole warps of the block");
  }
  if (checking_races) race_checker().pass_over_launch();
  current_->barrier = number;
  current_->state = State::at_partial_barrier;
  if (++at_partial_barrier_[number] == threads) {
    at_partial_barrier_[number] = 0;
    if (counting) traffic_counter().meet_all();
    for (unsigned i = 0; i < count_; ++i) {
      Thread& thread = *threads_[i];
      if (thread.state != State::at_partial_barrier || thread.barrier != number) continue;
      thread.state = State::ready;
      ready_.push_back(&thread);
    }
  }
  const State now = current_->state;
  pause(now, site, "bar.sync");
}

void Block::wait_until(const Site& site, const char* operation,
                       const std::function<bool()>& passed) {
  current_->passed = &passed;
  ++waiting_;
  pause(State::waiting, site, operation);
}

void Block::wake_waiting() {
  for (unsigned i = 0; i < count_; ++i) {
    Thread& thread = *threads_[i];
    if (thread.state != State::waiting) continue;
    try {
      if (!(*thread.passed)()) continue;
    } catch (...) {
      error_ = std::current_exception();
      return;
    }
    --waiting_;
    thread.state = State::ready;
    ready_.push_back(&thread);
  }
}

BlockState& Block::state(const std::function<std::unique_ptr<BlockState>()>& make) {
  if (checking_races) race_checker().pass_over_launch();
  if (!state_) state_ = make();
  return *state_;
}

void Block::meet(const Site& site, const char* operation, unsigned mask, std::int64_t immediate,
                 void* lane, void (*compute)(const Lanes&)) {
  const unsigned me = current_->linear % kWarpSize;
  const unsigned warp = current_->linear / kWarpSize;
  if ((mask >> me & 1U) == 0) {
    fail(std::string(operation) + " at " + text_of(site) + ": the lane is not in its own mask");
  }
  std::vector<Meeting>& open = meetings_[warp];
  auto meeting = std::find_if(open.begin(), open.end(),
                              [&](const Meeting& m) { return (m.mask & mask) != 0; });
  if (meeting == open.end()) {
    open.push_back({site, operation, mask, 0, immediate, {}});
    meeting = open.end() - 1;
  } else if (meeting->mask != mask || !same(meeting->site, site) ||
             meeting->immediate != immediate) {
    fail("divergent warp: this lane is at " + std::string(operation) + ", " + text_of(site) +
         ", others wait at " + meeting->operation + ", " + text_of(meeting->site) +
         (same(meeting->site, site) ? " with another mask or offset" : ""));
  }
  meeting->lanes[me] = lane;
  meeting->arrived |= 1U << me;
  if (meeting->arrived != mask) {
    pause(State::in_warp, site, operation);
    return;
  }
  const Meeting complete = *meeting;
  open.erase(meeting);
  if (counting) {
    if (mask == ~0U) traffic_counter().meet(warp);
    traffic_counter().count(operation);
  }
  // Of the warp operations it alone orders what lanes do to memory.
  if (mask == ~0U && std::strcmp(operation, "__syncwarp") == 0) ++warp_barriers_[warp];
  in_operation_ = true;
  compute(complete.lanes);
  in_operation_ = false;
  for (unsigned i = 0; i < kWarpSize; ++i) {
    if (i == me || (mask >> i & 1U) == 0) continue;
    Thread& thread = *threads_[warp * kWarpSize + i];
    thread.state = State::ready;
    ready_.push_back(&thread);
  }
}

void* Block::static_shared(const void* key, std::size_t bytes) {
  const auto [known, is_new] = static_.try_emplace(key, bytes);
  StaticShared& shared = known->second;
  if (shared.block == blocks_) return shared.memory.data();
  if (bytes > free_shared_) {
    fail("the block has no room for " + std::to_string(bytes) +
         " bytes of static shared memory beside its dynamic memory");
  }
  free_shared_ -= bytes;
  shared.block = blocks_;
  if (!is_new) shared.memory.fill();
  return shared.memory.data();
}

const GuardedBlock* Block::shared_around(const void* address) const {
  const auto is_in = [&](const GuardedBlock& memory) {
    const auto* begin = static_cast<const char*>(memory.data());
    const auto* at = static_cast<const char*>(address);
    return at >= begin && at < begin + memory.bytes();
  };
  if (dynamic_ != nullptr && is_in(*dynamic_)) return dynamic_;
  for (const auto& known : static_) {
    if (is_in(known.second.memory)) return &known.second.memory;
  }
  return nullptr;
}

std::optional<Place> Block::place_of(const void* address) const {
  if (const GuardedBlock* shared = shared_around(address)) {
    return Place{reinterpret_cast<std::uintptr_t>(shared->data()), shared->bytes(), true};
  }
  const DeviceMemory memory = device_memory_around(address);
  if (memory.data == nullptr) return std::nullopt;
  return Place{reinterpret_cast<std::uintptr_t>(memory.data), memory.bytes, false};
}

Moment Block::now() const {
  const unsigned thread = current_->linear;
  const std::uint64_t number =
      index_.x + std::uint64_t{gridDim.x} * (index_.y + std::uint64_t{gridDim.y} * index_.z);
  return {number, thread, block_barriers_, warp_barriers_[thread / kWarpSize]};
}

void Block::touch(Access access, const void* address, std::size_t bytes, const void* code) {
  if (in_operation_ || current_ == nullptr || current_->fiber.holds(address)) return;
  if (checking_races) race_checker().touch(now(), access, address, bytes, code);
  if (!counting) return;
  const unsigned thread = current_->linear;
  std::optional<std::size_t> place;
  if (const GuardedBlock* shared = shared_around(address)) {
    place = static_cast<std::size_t>(static_cast<const char*>(address) -
                                     static_cast<const char*>(shared->data()));
  }
  traffic_counter().touch(thread / kWarpSize, thread % kWarpSize, access, address, place, bytes,
                          code);
}

void Block::land(const Copy& copy) {
  std::memcpy(copy.to, copy.from, copy.bytes);
  if (checking_races) race_checker().land(now(), copy.to, copy.bytes);
}

void Block::report_deadlock() {
  std::string text = "block " + text_of(index_) + " hangs:";
  unsigned shown = 0;
  for (unsigned i = 0; i < count_ && shown < 4; ++i) {
    const Thread& thread = *threads_[i];
    if (thread.state == State::ended) continue;
    const bool repeats =
        i > 0 && threads_[i - 1]->state == thread.state && same(threads_[i - 1]->site, thread.site);
    if (repeats) continue;
    text += " thread " + text_of(thread.index) + " waits at " + thread.operation + ", " +
            text_of(thread.site) + ";";
    ++shown;
  }
  throw Violation(text + " " + std::to_string(count_ - alive_) + " threads have ended");
}

std::atomic<std::uint64_t> seed_of_orders{1};
std::atomic<std::uint64_t> launches{0};

void check(const Launch& launch) {
  const std::uint64_t threads = launch.block.count();
  if (threads == 0 || threads > 1024 || threads % kWarpSize != 0) {
    throw Violation("a block of " + std::to_string(threads) +
                    " threads; expected a multiple of 32 up to 1024");
  }
  if (launch.grid.count() == 0 || launch.grid.x > 2147483647U || launch.grid.y > 65535U ||
      launch.grid.z > 65535U) {
    throw Violation("a grid of " + text_of(launch.grid) +
                    " blocks; expected 1 to (2147483647, 65535, 65535)");
  }
  const std::size_t most = std::max(kSharedBytes, launch.asked_shared_bytes);
  if (launch.shared_bytes > most) {
    throw Violation(std::to_string(launch.shared_bytes) +
                    " bytes of dynamic shared memory; the kernel may take " + std::to_string(most));
  }
}

}  // namespace

void set_seed(std::uint64_t seed) {
  seed_of_orders = seed;
  launches = 0;
}

void run(const Launch& launch, const std::function<void()>& body) {
  check(launch);
  const std::uint64_t seed = seed_of_orders * 1000003 + launches++;
  const std::uint64_t count = launch.grid.count();
  std::vector<std::uint64_t> order(count);
  for (std::uint64_t i = 0; i < count; ++i) order[i] = i;
  Random(seed).shuffle(order);

  const OpenDeviceMemory open;
  const bool counted = counting;
  const bool checked = checking_races;
  if (counted) traffic_counter().begin_launch(launch);
  std::exception_ptr error;
  std::mutex error_mutex;
  std::atomic<bool> failed = false;
#pragma omp parallel for schedule(dynamic, 1) if (count > 1 && !counted && !checked)
  for (std::uint64_t i = 0; i < count; ++i) {
    if (failed) continue;
    const std::uint64_t b = order[i];
    const Extent index{static_cast<unsigned>(b % launch.grid.x),
                       static_cast<unsigned>(b / launch.grid.x % launch.grid.y),
                       static_cast<unsigned>(b / launch.grid.x / launch.grid.y)};
    try {
      block().run(launch, index, seed + b, body);
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
      failed = true;
    }
  }
  if (counted) traffic_counter().end_launch();
  if (checked) {
    const std::string race = race_checker().end_launch();
    if (!error && !race.empty()) throw Violation(race);
  }
  if (error) std::rethrow_exception(error);
}

void touch(Access access, const void* address, std::size_t bytes, const void* code) {
  if (counting || checking_races) block().touch(access, address, bytes, code);
}

std::optional<Place> place_of(const void* address) { return block().place_of(address); }

std::string running_thread() {
  Block& b = block();
  if (!b.running()) return "";
  return "block " + text_of(b.index()) + ", thread " + text_of(b.current().index);
}

void fail(const std::string& what) {
  const std::string where = running_thread();
  throw Violation(where.empty() ? what : where + ": " + what);
}

void block_barrier(const Site& site) { block().wait_at_barrier(site); }

void partial_barrier(const Site& site, unsigned number, unsigned threads) {
  block().wait_at_partial_barrier(site, number, threads);
}

void wait_until(const Site& site, const char* operation, const std::function<bool()>& passed) {
  block().wait_until(site, operation, passed);
}

void meet(const Site& site, const char* operation, unsigned mask, std::int64_t immediate,
          void* lane, void (*compute)(const Lanes&)) {
  block().meet(site, operation, mask, immediate, lane, compute);
}

unsigned lane_index() { return block().current().linear % kWarpSize; }

unsigned thread_index() { return block().current().linear; }

BlockState& block_state(const std::function<std::unique_ptr<BlockState>()>& make) {
  return block().state(make);
}

void* dynamic_shared_memory() {
  void* memory = block().dynamic_shared();
  if (memory == nullptr) fail("the launch gives no dynamic shared memory");
  return memory;
}

void* static_shared_memory(const void* key, std::size_t bytes) {
  return block().static_shared(key, bytes);
}

void copy_async(void* to, const void* from, std::size_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(to) % bytes != 0 ||
      reinterpret_cast<std::uintptr_t>(from) % bytes != 0) {
    fail("cp.async of " + std::to_string(bytes) + " bytes with an address that is no multiple");
  }
  // Reads and writes both sides now, so that an access out of bounds is seen where it is made.
  volatile const char* source = static_cast<const char*>(from);
  (void)source[0];
  (void)source[bytes - 1];
  std::memset(to, 0xff, bytes);
  touch(Access::copy_source, from, bytes, nullptr);
  touch(Access::copy_target, to, bytes, nullptr);
  block().current().copies.back().push_back({to, from, bytes});
}

void commit_copies() { block().current().copies.emplace_back(); }

void wait_copies(unsigned pending) {
  auto& groups = block().current().copies;
  while (groups.size() > pending + 1) {  // the last group is open and counts for nothing
    for (const Copy& copy : groups.front()) block().land(copy);
    groups.erase(groups.begin());
  }
}

}  // namespace ssmax::simt
