#include "race_checker.h"

#include <cstdio>
#include <utility>

#include "simt/races.h"

namespace ssmax::simt {

namespace {

constexpr std::uintptr_t kPage = 4096;  // is a device's or the host's, never both

bool ordered_by_barrier(const Moment& before, const Moment& now) {
  if (before.block != now.block) return false;
  return before.block_barriers < now.block_barriers ||
         (before.warp() == now.warp() && before.warp_barriers < now.warp_barriers);
}

bool same_thread(const Moment& a, const Moment& b) {
  return a.block == b.block && a.thread == b.thread;
}

}  // namespace

RaceChecker& race_checker() {
  static RaceChecker instance;
  return instance;
}

void check_races(const std::function<void()>& work) {
  struct Checking {
    bool before = std::exchange(checking_races, true);
    ~Checking() { checking_races = before; }
  };
  const Checking checking;
  work();
}

void RaceChecker::Reads::add(const Moment& now, bool of_warp) {
  const bool in_block = any && !other_blocks && last.block == now.block;
  if (!any || (in_block && last.block_barriers < now.block_barriers) ||
      (in_block && !other_warps && ordered_by_barrier(last, now))) {
    *this = {.last = now, .any = true, .other_lanes = of_warp};
    return;
  }
  other_blocks = other_blocks || last.block != now.block;
  other_warps = other_warps || last.warp() != now.warp();
  other_lanes = other_lanes || last.thread != now.thread || of_warp;
  last = now;
}

bool RaceChecker::Reads::are_before(const Moment& now) const {
  if (other_blocks || last.block != now.block) return false;
  if (other_warps) return last.block_barriers < now.block_barriers;
  return ordered_by_barrier(last, now) || (last.thread == now.thread && !other_lanes);
}

RaceChecker::Region* RaceChecker::region_around(const void* address) {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  if (last_ != nullptr && last_->is_around(at)) return last_;
  for (const auto& region : regions_) {
    if (region->is_around(at)) return last_ = region.get();
  }
  if (host_pages_.contains(at / kPage)) return nullptr;
  const auto place = place_of(address);
  if (!place) {
    host_pages_.insert(at / kPage);
    return nullptr;
  }
  regions_.push_back(std::make_unique<Region>());
  last_ = regions_.back().get();
  last_->place = *place;
  last_->cells.resize(place->bytes / kCellBytes + 1);
  return last_;
}

template <class Visit>
void RaceChecker::for_cells(Region& region, const Moment& now, const void* address,
                            std::size_t bytes, const Visit& visit) {
  const std::size_t offset = reinterpret_cast<std::uintptr_t>(address) - region.place.begin;
  const std::size_t end = (offset + bytes + kCellBytes - 1) / kCellBytes;
  for (std::size_t i = offset / kCellBytes; i < end && i < region.cells.size(); ++i) {
    Cell& cell = region.cells[i];
    if (region.place.shared && cell.block != now.block) cell = Cell{{}, {}, now.block};
    visit(cell);
  }
}

void RaceChecker::touch(const Moment& now, Access access, const void* address, std::size_t bytes,
                        const void* code) {
  if (passed_over_) return;
  Region* region = region_around(address);
  if (region == nullptr) return;
  const bool of_warp = access == Access::matrix_load;
  const bool writes = access == Access::store || access == Access::copy_target;
  for_cells(*region, now, address, bytes, [&](Cell& cell) {
    const auto race = [&](const Moment& other, const char* others) {
      report(*region, now, writes ? "writes" : "reads", other, others, address, code);
    };
    const Write& last = cell.write;
    if (last.any && last.under_way) {
      race(last.by, "copies there with cp.async and has not waited for it");
    } else if (last.any && !ordered_by_barrier(last.by, now) &&
               (of_warp || !same_thread(last.by, now))) {
      race(last.by, "has written there");
    }
    if (!writes) {
      cell.reads.add(now, of_warp);
      return;
    }
    if (cell.reads.any && !cell.reads.are_before(now)) {
      race(cell.reads.last, "has read there");
    }
    cell.write = {.by = now, .any = true, .under_way = access == Access::copy_target};
    cell.reads = {};
  });
}

void RaceChecker::land(const Moment& now, const void* address, std::size_t bytes) {
  if (passed_over_) return;
  Region* region = region_around(address);
  if (region == nullptr) return;
  for_cells(*region, now, address, bytes, [&](Cell& cell) {
    cell.write = {.by = now, .any = true};
    cell.reads = {};
  });
}

void RaceChecker::report(const Region& region, const Moment& now, const char* what,
                         const Moment& other, const char* others, const void* address,
                         const void* code) {
  if (!first_race_.empty()) return;
  const auto text_of = [](const Moment& moment) {
    return "thread " + std::to_string(moment.thread) + " of block " + std::to_string(moment.block);
  };
  const std::size_t offset = reinterpret_cast<std::uintptr_t>(address) - region.place.begin;
  first_race_ = "race: " + text_of(now) + " " + what + " byte " + std::to_string(offset) + " of " +
                std::to_string(region.place.bytes) + " in " +
                (region.place.shared ? "shared" : "global") + " memory, " + text_of(other) + " " +
                others + ", and no barrier lies between";
  if (code == nullptr) return;
  char instruction[64];
  std::snprintf(instruction, sizeof(instruction), "; the instruction is at %p", code);
  first_race_ += instruction;
}

std::string RaceChecker::end_launch() {
  regions_.clear();
  host_pages_.clear();
  last_ = nullptr;
  const std::string race = std::exchange(first_race_, {});
  return std::exchange(passed_over_, false) ? "" : race;
}

}  // namespace ssmax::simt
