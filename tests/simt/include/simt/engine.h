#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <type_traits>

#include "base/errors.h"

// Runs CUDA kernels compiled by the host's compiler: every thread of a block is a fiber, a fiber
// runs until it waits (barrier, warp operation) or ends, and those that may run are resumed in an
// order drawn from a seed. What the hardware leaves undefined is an error here where it can be
// told.

namespace ssmax::simt {

inline constexpr unsigned kWarpSize = 32;

/// A kernel did what a GPU does not define; the message says where and what.
class Violation : public base::Error {
 public:
  explicit Violation(const std::string& message) : Error(base::ErrorKind::device, message) {}
};

struct Extent {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;

  std::uint64_t count() const { return std::uint64_t{x} * y * z; }
};

/// Shared memory of a block, static and dynamic: what every kernel may take, and what one may that
/// has asked for its dynamic part by name. That of compute capability 9.0.
inline constexpr std::size_t kSharedBytes = std::size_t{48} << 10;
inline std::size_t most_shared_bytes = std::size_t{227} << 10;  // a test may ask for less

struct Launch {
  Extent grid;
  Extent block;
  std::size_t shared_bytes = 0;
  const void* kernel = nullptr;        // tells kernels apart where they are counted
  std::size_t asked_shared_bytes = 0;  ///< of dynamic memory, by name of the kernel; 0: never
};

/// Runs `body` once for every thread of the grid, blocks in a random order on several CPU threads.
/// Device memory is open while it runs. Throws the first Violation.
void run(const Launch& launch, const std::function<void()>& body);

/// Orders of fibers and blocks are drawn from this and the number of launches so far.
void set_seed(std::uint64_t seed);

// What a running thread may do. Everything below is called from kernels only.

/// Throws Violation with block and thread in front.
[[noreturn]] void fail(const std::string& what);

using Site = std::source_location;

/// Every thread of the block that has not ended must come here before one goes on.
void block_barrier(const Site& site);

/// `threads` threads of the block must come to the barrier of this number before one of them goes
/// on.
void partial_barrier(const Site& site, unsigned number, unsigned threads);

/// The thread waits until passed(), which others bring about; asked again and again.
void wait_until(const Site& site, const char* operation, const std::function<bool()>& passed);

/// By lane; null for lanes outside of the mask.
using Lanes = std::array<void*, kWarpSize>;

/// The lanes of `mask` meet in one operation: each brings its lane's data, the last to arrive runs
/// compute over all, then every lane goes on. Lanes that meet must stand at the same `site` with
/// the same `immediate`.
void meet(const Site& site, const char* operation, unsigned mask, std::int64_t immediate,
          void* lane, void (*compute)(const Lanes&));

/// meet() with typed data: compute(std::array<Lane*, 32>&) without captures.
template <class Lane, class Compute>
void collective(const Site& site, const char* operation, unsigned mask, std::int64_t immediate,
                Lane& lane, Compute /*compute*/) {
  static_assert(std::is_empty_v<Compute>, "what a lane needs it must bring in its data");
  meet(site, operation, mask, immediate, &lane, [](const Lanes& raw) {
    std::array<Lane*, kWarpSize> lanes{};
    for (unsigned i = 0; i < kWarpSize; ++i) lanes[i] = static_cast<Lane*>(raw[i]);
    Compute{}(lanes);
  });
}

unsigned lane_index();
/// Of the block.
unsigned thread_index();

/// What an extension of the emulator keeps of a block: made at the first call of block_state, gone
/// when the block has ended.
class BlockState {
 public:
  virtual ~BlockState() = default;
  /// When the thread has ended; may fail().
  virtual void end_of_thread(unsigned thread) = 0;
  /// When all threads have ended; may fail().
  virtual void end_of_block() = 0;
};
BlockState& block_state(const std::function<std::unique_ptr<BlockState>()>& make);

/// The block's dynamic shared memory: ends at a page that must not be touched, all bits set when
/// the block starts.
void* dynamic_shared_memory();

/// Shared memory of the block that belongs to `key`, made at the first call, guarded and filled
/// likewise.
void* static_shared_memory(const void* key, std::size_t bytes);

// cp.async: bytes land at the wait that covers their group and not before. Until then the target
// holds set bits, so that a missing wait is seen.
void copy_async(void* to, const void* from, std::size_t bytes);
void commit_copies();
/// Lands all groups of this thread but the newest `pending`.
void wait_copies(unsigned pending);

/// The calling CPU thread's running fiber as text, "block (1, 0, 0), thread (3, 0, 0)"; empty
/// outside of kernels.
std::string running_thread();

}  // namespace ssmax::simt
