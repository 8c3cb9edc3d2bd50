#include "simt/warpgroup.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "simt/arithmetic.h"

namespace ssmax::simt {

namespace {

constexpr std::size_t kElementBytes = 2;
constexpr std::size_t kBoxColumns = 64;
constexpr std::size_t kRowBytes = kBoxColumns * kElementBytes;
constexpr std::size_t kSwizzledRows = 8;
constexpr std::size_t kPatternBytes = kSwizzledRows * kRowBytes;
constexpr unsigned kWarpgroup = 128;
constexpr std::size_t kProductDepth = 16;

/// What the emulator keeps in an encoded map.
struct BoxSource {
  const unsigned char* data;
  std::int64_t extents[4];
  std::int64_t strides[4];  // bytes
  std::size_t box_rows;
};
static_assert(sizeof(BoxSource) <= sizeof(CUtensorMap));

/// A copy under way: of a tensor's box, or of plain bytes where there are any.
struct Copy {
  unsigned char* to = nullptr;
  BoxSource from{};
  std::array<std::int64_t, 4> at{};
  const void* plain = nullptr;
  std::size_t plain_bytes = 0;

  std::size_t bytes() const { return plain != nullptr ? plain_bytes : from.box_rows * kRowBytes; }
};

/// Address bits 4 to 6 of a swizzled tile are exclusive-ored with bits 7 to 9.
std::uintptr_t swizzled(std::uintptr_t address) { return address ^ (address >> 7 & 7U) << 4; }

struct Barrier {
  int arrivals = 0;  // of a phase
  int missing = 0;   // in this phase
  std::size_t announced = 0;
  int phase = 0;
  bool ready = false;
  unsigned owner = 0;
  std::vector<Copy> copies;
};

struct Product {
  AsyncProduct what;
  std::array<std::uint32_t, 4> registers{};
};

/// A thread's registers of sums while products are under way.
struct Sums {
  std::vector<float> values;
  int products = 0;  // that are still to come
};

struct ThreadProducts {
  bool begun = false;
  std::vector<std::vector<Product>> groups = {{}};  // the last is open
  std::map<float*, Sums> sums;
};

class WarpgroupState final : public BlockState {
 public:
  WarpgroupState() : shared_(static_cast<unsigned char*>(dynamic_shared_memory())) {}

  void end_of_thread(unsigned thread) override {
    const auto known = threads_.find(thread);
    if (known == threads_.end()) return;
    if (!known->second.sums.empty() || known->second.groups.size() > 1) {
      fail("the thread ends with products that it has not waited for");
    }
  }
  void end_of_block() override {
    for (const auto& [warp, count] : products_) {
      const auto first = products_.find(warp / 4 * 4);
      if (first == products_.end() || first->second != count) {
        throw Violation("the warps of a warpgroup have asked for different products");
      }
    }
    for (const auto& [address, barrier] : barriers_) {
      if (!barrier.copies.empty()) throw Violation("the block ends with copies under way");
    }
  }

  Barrier& barrier(void* address) {
    const auto known = barriers_.find(address);
    if (known == barriers_.end()) fail("a barrier that is not initialized");
    if (!known->second.ready && known->second.owner != thread_index()) {
      fail("a barrier is used before barriers_ready of the thread that has initialized it");
    }
    return known->second;
  }
  std::map<void*, Barrier>& barriers() { return barriers_; }
  ThreadProducts& thread() { return threads_[thread_index()]; }
  void count_product() {
    if (lane_index() == 0) ++products_[thread_index() / kWarpSize];
  }

  /// Element (i, k) of an operand, as a descriptor says.
  float element(const SharedOperand& operand, std::size_t i, std::size_t k) const {
    const std::uint64_t d = operand.descriptor;
    const auto field = [&](int bit) { return static_cast<std::size_t>(d >> bit & 0x3fffU) << 4; };
    const std::size_t start = field(0);
    const std::size_t next_tile = field(16);
    const std::size_t next_rows = field(32);
    if (d >> 62 != 1 || (d >> 49 & 7U) != 0) {
      fail("a matrix descriptor that is not of swizzled rows of 128 bytes");
    }
    // Where the element's row begins, and its place within.
    const std::size_t row = operand.along_rows ? i : k;
    const std::size_t column = operand.along_rows ? k : i % kBoxColumns;
    const std::size_t tile = operand.along_rows ? 0 : i / kBoxColumns;
    const std::size_t address = start + tile * next_tile + row / kSwizzledRows * next_rows +
                                row % kSwizzledRows * kRowBytes + column * kElementBytes;
    // The pattern repeats in the addresses of shared memory, whose begin is a multiple of it.
    const auto base = reinterpret_cast<std::uintptr_t>(shared_);
    const std::uintptr_t place = swizzled(base + address);
    std::uint16_t bits = 0;
    std::memcpy(&bits, reinterpret_cast<const void*>(place), sizeof(bits));
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }

 private:
  unsigned char* shared_;
  std::map<void*, Barrier> barriers_;
  std::map<unsigned, ThreadProducts> threads_;
  std::map<unsigned, std::int64_t> products_;  // by warp
};

WarpgroupState& state() {
  return static_cast<WarpgroupState&>(
      block_state([] { return std::make_unique<WarpgroupState>(); }));
}

void land(const Copy& copy) {
  if (copy.plain != nullptr) {
    std::memcpy(copy.to, copy.plain, copy.plain_bytes);
    return;
  }
  for (std::size_t row = 0; row < copy.from.box_rows; ++row) {
    for (std::size_t column = 0; column < kBoxColumns; ++column) {
      const std::array<std::int64_t, 4> at = {
          copy.at[0] + static_cast<std::int64_t>(column), copy.at[1],
          copy.at[2] + static_cast<std::int64_t>(row), copy.at[3]};
      std::uint16_t value = 0;
      const unsigned char* from = copy.from.data;
      bool inside = true;
      for (std::size_t d = 0; d < 4; ++d) {
        inside = inside && at[d] >= 0 && at[d] < copy.from.extents[d];
        from += at[d] * copy.from.strides[d];
      }
      if (inside) std::memcpy(&value, from, sizeof(value));
      const auto to =
          reinterpret_cast<std::uintptr_t>(copy.to) + row * kRowBytes + column * kElementBytes;
      std::memcpy(reinterpret_cast<void*>(swizzled(to)), &value, sizeof(value));
    }
  }
}

/// Ends the phase if nothing is missing.
void try_pass(Barrier& barrier) {
  std::size_t bytes = 0;
  for (const Copy& copy : barrier.copies) bytes += copy.bytes();
  if (barrier.missing > 0 || bytes != barrier.announced) return;
  for (const Copy& copy : barrier.copies) land(copy);
  barrier.copies.clear();
  barrier.announced = 0;
  barrier.missing = barrier.arrivals;
  ++barrier.phase;
}

/// One lane's product on its way into the warp's.
struct ProductLane {
  ThreadProducts* products;
  int pending;
};

float half_of(std::uint32_t word, bool high) {
  return std::bit_cast<float>(high ? word & 0xffff0000U : word << 16);
}

/// A warp's 16 rows of one product: lanes hold them as those of mma.m16n8k16.
void multiply(const std::array<Product*, kWarpSize>& lanes,
              const std::array<ThreadProducts*, kWarpSize>& threads, std::size_t warp_row,
              const WarpgroupState& shared) {
  const AsyncProduct& what = lanes[0]->what;
  const auto columns = static_cast<std::size_t>(what.columns);
  constexpr std::size_t kDepth = kUnitDepth;
  constexpr std::size_t kSteps = kProductDepth / kDepth;
  float a[16][kSteps][kDepth];
  for (std::size_t lane = 0; lane < kWarpSize; ++lane) {
    for (std::size_t i = 0; i < 4; ++i) {
      const std::size_t row = lane / 4 + 8 * (i % 2);
      const std::size_t k = 2 * (lane % 4);
      for (std::size_t j = 0; j < 2; ++j) {
        a[row][i / 2][k + j] =
            what.registers != nullptr
                ? half_of(lanes[lane]->registers[i], j == 1)
                : shared.element(what.a, warp_row + row, kDepth * (i / 2) + k + j);
      }
    }
  }
  for (std::size_t first = 0; first < columns; first += kUnitColumns) {
    float b[kSteps][kDepth][kUnitColumns];
    for (std::size_t k = 0; k < kProductDepth; ++k) {
      for (std::size_t n = 0; n < kUnitColumns; ++n) {
        b[k / kDepth][k % kDepth][n] = shared.element(what.b, first + n, k);
      }
    }
    for (std::size_t row = 0; row < 16; ++row) {
      const auto place = [&](std::size_t n) -> float& {
        const std::size_t lane = row % 8 * 4 + n / 2;
        return threads[lane]
            ->sums.at(lanes[lane]->what.c)
            .values[first / 8 * 4 + row / 8 * 2 + n % 2];
      };
      float c[kUnitColumns];
      for (std::size_t n = 0; n < kUnitColumns; ++n) c[n] = what.adds ? place(n) : 0.0F;
      for (std::size_t step = 0; step < kSteps; ++step) add_products(c, a[row][step], b[step]);
      for (std::size_t n = 0; n < kUnitColumns; ++n) place(n) = c[n];
    }
  }
}

void finish_groups(const std::array<ProductLane*, kWarpSize>& lanes) {
  WarpgroupState& shared = state();
  std::array<ThreadProducts*, kWarpSize> threads{};
  for (unsigned i = 0; i < kWarpSize; ++i) threads[i] = lanes[i]->products;
  const std::size_t warp_row = thread_index() % kWarpgroup / kWarpSize * 16;
  const auto pending = static_cast<std::size_t>(lanes[0]->pending);
  while (threads[0]->groups.size() > pending + 1) {
    const std::size_t count = threads[0]->groups.front().size();
    for (std::size_t p = 0; p < count; ++p) {
      std::array<Product*, kWarpSize> products{};
      for (unsigned i = 0; i < kWarpSize; ++i) {
        auto& group = threads[i]->groups.front();
        if (group.size() != count) fail("the lanes of a warp have asked for different products");
        products[i] = &group[p];
        const AsyncProduct& one = group[p].what;
        const AsyncProduct& first = products[0]->what;
        if (one.a.descriptor != first.a.descriptor || one.b.descriptor != first.b.descriptor ||
            one.adds != first.adds) {
          fail("the lanes of a warp have asked for different products");
        }
      }
      multiply(products, threads, warp_row, shared);
      for (unsigned i = 0; i < kWarpSize; ++i) {
        float* c = products[i]->what.c;
        Sums& sums = threads[i]->sums.at(c);
        if (--sums.products > 0) continue;
        std::copy(sums.values.begin(), sums.values.end(), c);
        threads[i]->sums.erase(c);
      }
    }
    for (ThreadProducts* thread : threads) thread->groups.erase(thread->groups.begin());
  }
}

}  // namespace

void barrier_init(void* barrier, int arrivals) {
  if (reinterpret_cast<std::uintptr_t>(barrier) % 8 != 0 || arrivals <= 0) {
    fail("a barrier takes eight aligned bytes and at least one arrival");
  }
  Barrier made;
  made.arrivals = made.missing = arrivals;
  made.owner = thread_index();
  state().barriers()[barrier] = made;
}

void barriers_ready() {
  for (auto& [address, barrier] : state().barriers()) {
    if (barrier.owner == thread_index()) barrier.ready = true;
  }
}

void barrier_arrive(void* address, int bytes) {
  Barrier& barrier = state().barrier(address);
  if (barrier.missing == 0) fail("more arrivals at a barrier than it was initialized for");
  barrier.announced += static_cast<std::size_t>(bytes);
  --barrier.missing;
  // A phase without copies needs nobody who waits.
  if (barrier.announced == 0) try_pass(barrier);
}

void barrier_wait(const Site& site, void* address, int parity) {
  Barrier& barrier = state().barrier(address);
  const auto passed = [&barrier, parity] {
    if (barrier.phase % 2 == parity % 2) try_pass(barrier);
    return barrier.phase % 2 != parity % 2;
  };
  if (!passed()) wait_until(site, "mbarrier.try_wait", passed);
}

namespace {

void start(const Copy& copy, void* address) {
  Barrier& barrier = state().barrier(address);
  if (!barrier.ready) fail("a copy counts at a barrier before barriers_ready");
  std::memset(copy.to, 0xff, copy.bytes());
  barrier.copies.push_back(copy);
}

}  // namespace

void copy_box(void* tile, const CUtensorMap& map, const int (&at)[4], void* barrier) {
  if (reinterpret_cast<std::uintptr_t>(tile) % kPatternBytes != 0) {
    fail("a tile of swizzled rows begins at a multiple of 1024 bytes");
  }
  Copy copy;
  std::memcpy(&copy.from, &map, sizeof(copy.from));
  copy.to = static_cast<unsigned char*>(tile);
  copy.at = {at[0], at[1], at[2], at[3]};
  start(copy, barrier);
}

void copy_bytes(void* to, const void* from, int bytes, void* barrier) {
  const auto multiple = [](const void* address) {
    return reinterpret_cast<std::uintptr_t>(address) % 16 == 0;
  };
  if (!multiple(to) || !multiple(from) || bytes <= 0 || bytes % 16 != 0) {
    fail("cp.async.bulk: addresses and bytes must be multiples of 16");
  }
  Copy copy;
  copy.to = static_cast<unsigned char*>(to);
  copy.plain = from;
  copy.plain_bytes = static_cast<std::size_t>(bytes);
  start(copy, barrier);
}

void products_begin() { state().thread().begun = true; }

void multiply_async(const AsyncProduct& product) {
  ThreadProducts& thread = state().thread();
  if (!thread.begun) fail("a product without products_begin before its group");
  state().count_product();
  Product made{product, {}};
  if (product.registers != nullptr) {
    std::copy_n(product.registers, 4, made.registers.begin());
  }
  const auto count = static_cast<std::size_t>(product.columns) / 2;
  Sums& sums = thread.sums[product.c];
  if (sums.products++ == 0) {
    sums.values.assign(product.c, product.c + count);
    std::memset(product.c, 0xff, count * sizeof(float));
  }
  thread.groups.back().push_back(made);
}

void products_commit() {
  ThreadProducts& thread = state().thread();
  thread.groups.emplace_back();
  thread.begun = false;
}

void products_wait(const Site& site, int pending) {
  ProductLane lane{&state().thread(), pending};
  collective(site, "wgmma.wait_group", 0xffffffffU, pending, lane,
             [](auto& lanes) { finish_groups(lanes); });
}

}  // namespace ssmax::simt

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank,
                                void* address, const cuuint64_t* extents, const cuuint64_t* strides,
                                const cuuint32_t* box, const cuuint32_t* element_strides,
                                CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion /*promotion*/,
                                CUtensorMapFloatOOBfill fill) {
  using namespace ssmax::simt;
  const bool known = type == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 && rank == 4 &&
                     interleave == CU_TENSOR_MAP_INTERLEAVE_NONE &&
                     swizzle == CU_TENSOR_MAP_SWIZZLE_128B &&
                     fill == CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
  const bool placed = reinterpret_cast<std::uintptr_t>(map) % 64 == 0 &&
                      reinterpret_cast<std::uintptr_t>(address) % 16 == 0;
  bool fits = box[0] == kBoxColumns && box[1] == 1 && box[3] == 1 && box[2] >= 1 && box[2] <= 256;
  for (int d = 0; d < 4; ++d) {
    fits =
        fits && extents[d] >= 1 && extents[d] <= (cuuint64_t{1} << 32) && element_strides[d] == 1;
    if (d > 0) fits = fits && strides[d - 1] % 16 == 0 && strides[d - 1] < (cuuint64_t{1} << 40);
  }
  if (!known || !placed || !fits) return CUDA_ERROR_INVALID_VALUE;
  BoxSource source{};
  source.data = static_cast<const unsigned char*>(address);
  source.box_rows = box[2];
  for (std::size_t d = 0; d < 4; ++d) {
    source.extents[d] = static_cast<std::int64_t>(extents[d]);
    source.strides[d] = d == 0 ? static_cast<std::int64_t>(kElementBytes)
                               : static_cast<std::int64_t>(strides[d - 1]);
  }
  std::memcpy(map, &source, sizeof(source));
  return CUDA_SUCCESS;
}
