#include "simt/traffic.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "simt/device_memory.h"
#include "traffic_counter.h"

namespace ssmax::simt {

namespace {

constexpr std::uint64_t kSector = 32;
constexpr std::uint64_t kBank = 4;
constexpr std::uint64_t kBanks = 32;

double ratio(std::uint64_t a, std::uint64_t b) {
  return b == 0 ? 1.0 : static_cast<double>(a) / static_cast<double>(b);
}

/// Bits of `sector` for bytes [begin, end).
std::uint32_t bits_of(std::uint64_t sector, std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t low = std::max(begin, sector * kSector) - sector * kSector;
  const std::uint64_t high = std::min(end, (sector + 1) * kSector) - sector * kSector;
  return static_cast<std::uint32_t>(((std::uint64_t{1} << (high - low)) - 1) << low);
}

using Places = std::array<std::uint64_t, kWarpSize>;

/// Calls work(place) for the lanes [begin, end) of the mask; whether there were any.
template <class Work>
bool for_lanes(unsigned mask, const Places& places, unsigned begin, unsigned end,
               const Work& work) {
  bool any = false;
  for (unsigned lane = begin; lane < end; ++lane) {
    if ((mask >> lane & 1U) == 0) continue;
    work(places[lane]);
    any = true;
  }
  return any;
}

GlobalTraffic global_traffic(unsigned mask, const Places& places, std::size_t bytes) {
  std::map<std::uint64_t, std::uint32_t> sectors;
  for_lanes(mask, places, 0, kWarpSize, [&](std::uint64_t place) {
    for (std::uint64_t s = place / kSector; s * kSector < place + bytes; ++s) {
      sectors[s] |= bits_of(s, place, place + bytes);
    }
  });
  GlobalTraffic traffic{.accesses = 1, .sectors = sectors.size()};
  for (const auto& [sector, bits] : sectors)
    traffic.bytes += static_cast<unsigned>(std::popcount(bits));
  return traffic;
}

SharedTraffic shared_traffic(unsigned mask, const Places& places, std::size_t bytes) {
  const unsigned lanes = bytes <= 4 ? 32 : bytes <= 8 ? 16 : 8;
  SharedTraffic traffic;
  for (unsigned begin = 0; begin < kWarpSize; begin += lanes) {
    std::array<std::vector<std::uint64_t>, kBanks> words;
    const bool any = for_lanes(mask, places, begin, begin + lanes, [&](std::uint64_t place) {
      for (std::uint64_t word = place / kBank; word * kBank < place + bytes; ++word) {
        auto& of_bank = words[word % kBanks];
        if (std::find(of_bank.begin(), of_bank.end(), word) == of_bank.end())
          of_bank.push_back(word);
      }
    });
    if (!any) continue;
    std::size_t most = 0;
    for (const auto& of_bank : words) most = std::max(most, of_bank.size());
    traffic.wavefronts += most;
    ++traffic.ideal;
  }
  return traffic;
}

}  // namespace

void GlobalTraffic::add(const GlobalTraffic& other) {
  accesses += other.accesses;
  bytes += other.bytes;
  sectors += other.sectors;
  distinct += other.distinct;
}
double GlobalTraffic::coalescing() const { return ratio(bytes, kSector * sectors); }

void SharedTraffic::add(const SharedTraffic& other) {
  wavefronts += other.wavefronts;
  ideal += other.ideal;
}
double SharedTraffic::conflicts() const { return ratio(wavefronts, ideal); }

std::uint64_t KernelTraffic::count(const std::string& operation) const {
  const auto found = operations.find(operation);
  return found == operations.end() ? 0 : found->second;
}

TrafficCounter& traffic_counter() {
  static TrafficCounter instance;
  return instance;
}

void start_counting() {
  traffic_counter().take();
  counting = true;
}

std::vector<KernelTraffic> stop_counting() {
  counting = false;
  return traffic_counter().take();
}

void TrafficCounter::begin_launch(const Launch& launch) {
  const auto known = std::find_if(kernels_.begin(), kernels_.end(), [&](const KernelTraffic& one) {
    return one.kernel == launch.kernel;
  });
  current_ = static_cast<std::size_t>(known - kernels_.begin());
  if (known == kernels_.end()) kernels_.emplace_back().kernel = launch.kernel;
  ++current().launches;
  warps_.assign(launch.block.count() / kWarpSize, {});
  counted_exponentials = 0;
}

void TrafficCounter::end_launch() {
  const auto bytes_of = [](const std::vector<std::uint32_t>& sectors) {
    std::uint64_t bytes = 0;
    for (const std::uint32_t bits : sectors) bytes += static_cast<unsigned>(std::popcount(bits));
    return bytes;
  };
  for (const auto& region : regions_) {
    current().loads.distinct += bytes_of(region->loaded);
    current().stores.distinct += bytes_of(region->stored);
  }
  current().exponentials += counted_exponentials;
  regions_.clear();
  sectors_ = 0;
  last_ = nullptr;
}

TrafficCounter::Region* TrafficCounter::region_around(const void* address) {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  const auto is_inside = [&](const Region& region) {
    return at >= region.begin && at < region.end;
  };
  if (last_ != nullptr && is_inside(*last_)) return last_;
  for (const auto& region : regions_) {
    if (is_inside(*region)) return last_ = region.get();
  }
  const DeviceMemory memory = device_memory_around(address);
  if (memory.data == nullptr) return nullptr;
  auto region = std::make_unique<Region>();
  region->begin = reinterpret_cast<std::uintptr_t>(memory.data);
  region->end = region->begin + memory.bytes;
  region->first_sector = sectors_;
  const std::uint64_t count = memory.bytes / kSector + 1;
  region->loaded.resize(count);
  region->stored.resize(count);
  sectors_ += count;
  regions_.push_back(std::move(region));
  return last_ = regions_.back().get();
}

void TrafficCounter::mark(Region& region, std::uint64_t offset, std::size_t bytes, Access access) {
  for (std::uint64_t sector = offset / kSector; sector * kSector < offset + bytes; ++sector) {
    const std::uint32_t bits = bits_of(sector, offset, offset + bytes);
    if (access == Access::store) {
      region.stored[sector] |= bits;
    } else {
      region.loaded[sector] |= bits & ~region.stored[sector];
    }
  }
}

void TrafficCounter::touch(unsigned warp, unsigned lane, Access access, const void* address,
                           std::optional<std::size_t> shared, std::size_t bytes, const void* code) {
  Instruction& instruction = warps_[warp][{code, access}];
  const std::uint32_t turn = instruction.done[lane]++;
  std::uint64_t place = 0;
  if (shared) {
    place = *shared;
  } else {
    Region* region = region_around(address);
    if (region == nullptr) return;
    const std::uint64_t offset = reinterpret_cast<std::uintptr_t>(address) - region->begin;
    mark(*region, offset, bytes, access);
    place = region->first_sector * kSector + offset;
  }
  const Space space = shared ? Space::shared : Space::global;
  if (instruction.accesses.size() <= turn) instruction.accesses.resize(turn + 1);
  WarpAccess& one = instruction.accesses[turn];
  if (one.mask == 0) {
    one.access = access;
    one.space = space;
    one.bytes = bytes;
  } else if (one.space != space || one.bytes != bytes) {
    fail("traffic: lanes of one access differ in its kind or size");
  }
  one.mask |= 1U << lane;
  one.places[lane] = place;
}

void TrafficCounter::meet(unsigned warp) {
  Instructions& instructions = warps_[warp];
  if (instructions.empty()) return;
  for (const auto& [key, instruction] : instructions) {
    for (const WarpAccess& access : instruction.accesses) {
      if (access.mask != 0) add(access);
    }
  }
  instructions.clear();
}

void TrafficCounter::meet_all() {
  for (unsigned warp = 0; warp < warps_.size(); ++warp) meet(warp);
}

void TrafficCounter::add(const WarpAccess& access) {
  KernelTraffic& kernel = current();
  if (access.space == Space::global) {
    (access.access == Access::store ? kernel.stores : kernel.loads)
        .add(global_traffic(access.mask, access.places, access.bytes));
    return;
  }
  SharedTraffic& to = access.access == Access::matrix_load   ? kernel.matrices
                      : access.access == Access::copy_target ? kernel.copies
                                                             : kernel.plain;
  to.add(shared_traffic(access.mask, access.places, access.bytes));
}

}  // namespace ssmax::simt
