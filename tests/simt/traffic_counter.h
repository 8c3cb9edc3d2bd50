#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "simt/traffic.h"

namespace ssmax::simt {

/// Puts the accesses of lanes together to those of warps and counts them. The engine tells it what
/// happens.
class TrafficCounter {
 public:
  void begin_launch(const Launch& launch);
  void end_launch();
  std::vector<KernelTraffic> take() { return std::exchange(kernels_, {}); }

  /// `shared`: the place in shared memory, where it is that.
  void touch(unsigned warp, unsigned lane, Access access, const void* address,
             std::optional<std::size_t> shared, std::size_t bytes, const void* code);
  /// The lanes of the warp meet: its accesses so far are complete.
  void meet(unsigned warp);
  void meet_all();
  void count(const char* operation) { ++current().operations[operation]; }

 private:
  enum class Space : unsigned char { global, shared };

  struct WarpAccess {
    Access access = Access::load;
    Space space = Space::global;
    std::size_t bytes = 0;
    unsigned mask = 0;
    std::array<std::uint64_t, kWarpSize> places{};
  };
  struct Instruction {
    std::array<std::uint32_t, kWarpSize> done{};  // by lane
    std::vector<WarpAccess> accesses;             // by turn
  };
  using Instructions = std::map<std::pair<const void*, Access>, Instruction>;

  /// An allocation; a word of bits to a sector of 32 bytes.
  struct Region {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    std::uint64_t first_sector = 0;  // among those of all regions
    std::vector<std::uint32_t> loaded;
    std::vector<std::uint32_t> stored;
  };

  KernelTraffic& current() { return kernels_[current_]; }
  Region* region_around(const void* address);
  static void mark(Region& region, std::uint64_t offset, std::size_t bytes, Access access);
  void add(const WarpAccess& access);

  std::vector<KernelTraffic> kernels_;
  std::size_t current_ = 0;
  std::vector<Instructions> warps_;
  std::vector<std::unique_ptr<Region>> regions_;  // of the launch
  std::uint64_t sectors_ = 0;                     // of all regions
  Region* last_ = nullptr;
};

TrafficCounter& traffic_counter();

}  // namespace ssmax::simt
