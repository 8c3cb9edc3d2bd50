#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "simt/engine.h"

// What kernels ask of a GPU's memories and units, counted while they run. Loads and stores are seen
// where kernels are compiled so that every one of them calls touch() (tests/simt/traffic); matrix
// loads, copies of cp.async and operations of warps always.

namespace ssmax::simt {

/// Accesses of global memory by whole warps.
struct GlobalTraffic {
  std::uint64_t accesses = 0;
  std::uint64_t bytes = 0;    ///< asked for, a byte once in an access
  std::uint64_t sectors = 0;  ///< of 32 bytes, that the accesses touch
  /// Bytes that a cache without limit lets through: each once in a launch, and none that the launch
  /// has stored before it loads them.
  std::uint64_t distinct = 0;

  void add(const GlobalTraffic& other);
  /// Share of the sectors' bytes that was asked for; 1 without accesses.
  double coalescing() const;
};

/// Passes through the 32 banks of shared memory, of four bytes each. An access of up to 4 bytes by
/// a lane goes by whole warps, of 8 bytes by half warps, of 16 by quarters; each is one pass where
/// no bank has to give two words.
struct SharedTraffic {
  std::uint64_t wavefronts = 0;
  std::uint64_t ideal = 0;

  void add(const SharedTraffic& other);
  /// Passes for each one that was needed; 1 without accesses.
  double conflicts() const;
};

/// Of the launches of one kernel.
struct KernelTraffic {
  const void* kernel = nullptr;
  std::uint64_t launches = 0;
  GlobalTraffic loads;
  GlobalTraffic stores;
  SharedTraffic plain;     ///< loads and stores
  SharedTraffic matrices;  ///< ldmatrix
  SharedTraffic copies;    ///< targets of cp.async
  /// By name: operations of warps, and barriers of blocks.
  std::map<std::string, std::uint64_t> operations;
  std::uint64_t exponentials = 0;  ///< of lanes

  /// Bytes of the sectors of all accesses: what the caches are asked for.
  std::uint64_t asked() const { return 32 * (loads.sectors + stores.sectors); }
  /// Bytes that must pass between the caches and the memory.
  std::uint64_t moved() const { return loads.distinct + stores.distinct; }
  std::uint64_t count(const std::string& operation) const;
};

/// From this call on kernels are counted, and their blocks run one after the other.
void start_counting();
/// Ends it. Kernels in the order of their first launch.
std::vector<KernelTraffic> stop_counting();

/// How a lane touches memory.
enum class Access : unsigned char { load, store, matrix_load, copy_source, copy_target };

inline bool counting = false;
inline std::uint64_t counted_exponentials = 0;

/// One lane's access. Between two points where its warp meets, the n-th accesses of the lanes by
/// the instruction `code` are one of the warp. Memory of the host counts for nothing.
void touch(Access access, const void* address, std::size_t bytes, const void* code);

}  // namespace ssmax::simt
