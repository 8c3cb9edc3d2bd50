#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "simt/traffic.h"

namespace ssmax::simt {

/// A thread of a launch, and how many barriers lie behind it.
struct Moment {
  std::uint64_t block = 0;  ///< by number in the launch
  unsigned thread = 0;
  unsigned block_barriers = 0;
  unsigned warp_barriers = 0;

  unsigned warp() const { return thread / kWarpSize; }
};

/// Memory that a thread touches: global, or shared of its block.
struct Place {
  std::uintptr_t begin = 0;
  std::size_t bytes = 0;
  bool shared = false;
};

/// Nothing for memory of the host. Of the running thread; by the engine.
std::optional<Place> place_of(const void* address);

/// Who has touched which place of memory, within a launch. The engine tells it what happens.
class RaceChecker {
 public:
  void touch(const Moment& now, Access access, const void* address, std::size_t bytes,
             const void* code);
  /// What cp.async has written for this thread is there.
  void land(const Moment& now, const void* address, std::size_t bytes);
  /// The launch orders accesses by what is not known here.
  void pass_over_launch() { passed_over_ = true; }
  /// Ends a launch; what the first race of it was, or nothing.
  std::string end_launch();

 private:
  /// Of elements: nothing that kernels touch is smaller.
  static constexpr std::size_t kCellBytes = 2;

  struct Write {
    Moment by;
    bool any = false;
    bool under_way = false;  // by cp.async
  };
  struct Reads {
    Moment last;
    bool any = false;
    // Beside the last, and like it not before a barrier that orders them all:
    bool other_blocks = false;
    bool other_warps = false;
    bool other_lanes = false;

    void add(const Moment& now, bool of_warp);
    bool are_before(const Moment& now) const;
  };
  struct Cell {
    Write write;
    Reads reads;
    std::uint64_t block = 0;  // of shared memory: whose the above is
  };
  struct Region {
    Place place;
    std::vector<Cell> cells;

    bool is_around(std::uintptr_t address) const {
      return address >= place.begin && address < place.begin + place.bytes;
    }
  };

  Region* region_around(const void* address);
  template <class Visit>
  void for_cells(Region& region, const Moment& now, const void* address, std::size_t bytes,
                 const Visit& visit);
  void report(const Region& region, const Moment& now, const char* what, const Moment& other,
              const char* others, const void* address, const void* code);

  // Of the launch.
  std::vector<std::unique_ptr<Region>> regions_;
  std::unordered_set<std::uintptr_t> host_pages_;
  Region* last_ = nullptr;
  std::string first_race_;
  bool passed_over_ = false;
};

RaceChecker& race_checker();

}  // namespace ssmax::simt
