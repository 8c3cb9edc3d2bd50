#pragma once

#include <cstdint>

#include "device/ptx.cuh"
#include "device/tensor_map.h"

/// The PTX instructions of compute capability 9.0 alone: products of a warpgroup with operands in
/// shared memory, tiles that the tensor memory accelerator copies, and the barriers that count
/// their bytes. PTX ISA, sections "Asynchronous Warpgroup Level Matrix Instructions" and
/// "mbarrier".
namespace ssmax::device {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
/// Whether the code being compiled is for a GPU that has them.
inline constexpr bool kHasWarpgroups = true;
#else
inline constexpr bool kHasWarpgroups = false;
#endif

/// Ends the launch with an error, where the code would have to do without them.
__device__ inline void fail_without_warpgroups() { asm volatile("trap;"); }

inline constexpr int kWarpgroupSize = 128;

// --- Tiles in shared memory -------------------------------------------------------------------

/// A tile is of rows of 64 elements (128 bytes) of bf16; sixteen bytes c of row r lie at
/// c ^ (r % 8). It begins at a multiple of this.
inline constexpr int kTileAlignment = 1024;
inline constexpr int kTileRowBytes = 128;

/// Where a product finds an operand. Bits: [0, 14) address / 16, [16, 30) the leading stride / 16,
/// [32, 46) the stride of eight rows / 16, [62, 64) 1 for swizzled rows of 128 bytes.
struct MatrixDescriptor {
  std::uint64_t bits;

  /// The operand `bytes` further on, a multiple of 16, within the block's shared memory: nothing is
  /// carried out of the address.
  __device__ MatrixDescriptor at(int bytes) const {
    const auto low = static_cast<std::uint32_t>(bits) + static_cast<std::uint32_t>(bytes / 16);
    return {bits >> 32 << 32 | low};
  }
};

/// Of an operand in a tile at `address`. The sum runs along the rows of a tile (the operand's
/// elements of one sum lie side by side), or down its rows; then `next_tile` bytes lie between
/// tiles of 64 columns each.
__device__ inline MatrixDescriptor matrix_descriptor(SharedAddress address, int next_tile = 16) {
  const auto field = [](std::uint64_t bytes) { return bytes >> 4 & 0x3fffU; };
  return {field(address) | field(static_cast<std::uint64_t>(next_tile)) << 16 |
          field(8 * kTileRowBytes) << 32 | std::uint64_t{1} << 62};
}

// --- Products ---------------------------------------------------------------------------------

/// Registers of products not yet issued are as the program sees them; before the first product, and
/// whenever operands or sums in registers have changed.
__device__ inline void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
/// The values are in their registers here, and not put there later, while products are under way,
/// which would make the compiler wait for these.
template <int kN>
__device__ void settle(float (&c)[kN][4]) {
#pragma unroll
  for (int n = 0; n < kN; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+f"(c[n][i])::"memory");
  }
}
/// Closes the group of products issued since the last one.
__device__ inline void products_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Waits until at most kPending of the latest groups are under way.
template <int kPending>
__device__ inline void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

/// Whether a product is added to what its registers hold.
enum class Sums : int { begin = 0, add = 1 };

// c = a b or c += a b over 16 elements of the sum, under way until products_wait. All 128 threads
// of a warpgroup call it; warp w has rows 16 w to 16 w + 15 of c (64, 8 n), which lie in registers
// as those of multiply_add do, c[n] the columns from 8 n. `a` (64, 16) lies in a tile, its sum
// along the rows, or in registers as for multiply_add.

/// b (16, 64) and (16, 128): its sum runs along the rows of a tile.
__device__ inline void multiply_async(float (&c)[8][4], MatrixDescriptor a, MatrixDescriptor b,
                                      Sums sums) {
  asm volatile(
      "{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, accumulate, 1, 1, 0, 0;\n}"
      : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]),
        "+f"(c[1][2]), "+f"(c[1][3]), "+f"(c[2][0]), "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]),
        "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3]), "+f"(c[4][0]), "+f"(c[4][1]),
        "+f"(c[4][2]), "+f"(c[4][3]), "+f"(c[5][0]), "+f"(c[5][1]), "+f"(c[5][2]), "+f"(c[5][3]),
        "+f"(c[6][0]), "+f"(c[6][1]), "+f"(c[6][2]), "+f"(c[6][3]), "+f"(c[7][0]), "+f"(c[7][1]),
        "+f"(c[7][2]), "+f"(c[7][3])
      : "l"(a.bits), "l"(b.bits), "r"(static_cast<int>(sums)));
}
__device__ inline void multiply_async(float (&c)[16][4], MatrixDescriptor a, MatrixDescriptor b,
                                      Sums sums) {
  asm volatile(
      "{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, accumulate, 1, 1, 0, 0;\n}"
      : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]),
        "+f"(c[1][2]), "+f"(c[1][3]), "+f"(c[2][0]), "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]),
        "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3]), "+f"(c[4][0]), "+f"(c[4][1]),
        "+f"(c[4][2]), "+f"(c[4][3]), "+f"(c[5][0]), "+f"(c[5][1]), "+f"(c[5][2]), "+f"(c[5][3]),
        "+f"(c[6][0]), "+f"(c[6][1]), "+f"(c[6][2]), "+f"(c[6][3]), "+f"(c[7][0]), "+f"(c[7][1]),
        "+f"(c[7][2]), "+f"(c[7][3]), "+f"(c[8][0]), "+f"(c[8][1]), "+f"(c[8][2]), "+f"(c[8][3]),
        "+f"(c[9][0]), "+f"(c[9][1]), "+f"(c[9][2]), "+f"(c[9][3]), "+f"(c[10][0]), "+f"(c[10][1]),
        "+f"(c[10][2]), "+f"(c[10][3]), "+f"(c[11][0]), "+f"(c[11][1]), "+f"(c[11][2]),
        "+f"(c[11][3]), "+f"(c[12][0]), "+f"(c[12][1]), "+f"(c[12][2]), "+f"(c[12][3]),
        "+f"(c[13][0]), "+f"(c[13][1]), "+f"(c[13][2]), "+f"(c[13][3]), "+f"(c[14][0]),
        "+f"(c[14][1]), "+f"(c[14][2]), "+f"(c[14][3]), "+f"(c[15][0]), "+f"(c[15][1]),
        "+f"(c[15][2]), "+f"(c[15][3])
      : "l"(a.bits), "l"(b.bits), "r"(static_cast<int>(sums)));
}

/// b (16, 64) and (16, 128): its sum runs down the rows of a tile.
__device__ inline void multiply_async(float (&c)[8][4], const std::uint32_t (&a)[4],
                                      MatrixDescriptor b, Sums sums) {
  asm volatile(
      "{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, accumulate, 1, 1, 1;\n}"
      : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]),
        "+f"(c[1][2]), "+f"(c[1][3]), "+f"(c[2][0]), "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]),
        "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3]), "+f"(c[4][0]), "+f"(c[4][1]),
        "+f"(c[4][2]), "+f"(c[4][3]), "+f"(c[5][0]), "+f"(c[5][1]), "+f"(c[5][2]), "+f"(c[5][3]),
        "+f"(c[6][0]), "+f"(c[6][1]), "+f"(c[6][2]), "+f"(c[6][3]), "+f"(c[7][0]), "+f"(c[7][1]),
        "+f"(c[7][2]), "+f"(c[7][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits), "r"(static_cast<int>(sums)));
}
__device__ inline void multiply_async(float (&c)[16][4], const std::uint32_t (&a)[4],
                                      MatrixDescriptor b, Sums sums) {
  asm volatile(
      "{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, accumulate, 1, 1, 1;\n}"
      : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]),
        "+f"(c[1][2]), "+f"(c[1][3]), "+f"(c[2][0]), "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]),
        "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3]), "+f"(c[4][0]), "+f"(c[4][1]),
        "+f"(c[4][2]), "+f"(c[4][3]), "+f"(c[5][0]), "+f"(c[5][1]), "+f"(c[5][2]), "+f"(c[5][3]),
        "+f"(c[6][0]), "+f"(c[6][1]), "+f"(c[6][2]), "+f"(c[6][3]), "+f"(c[7][0]), "+f"(c[7][1]),
        "+f"(c[7][2]), "+f"(c[7][3]), "+f"(c[8][0]), "+f"(c[8][1]), "+f"(c[8][2]), "+f"(c[8][3]),
        "+f"(c[9][0]), "+f"(c[9][1]), "+f"(c[9][2]), "+f"(c[9][3]), "+f"(c[10][0]), "+f"(c[10][1]),
        "+f"(c[10][2]), "+f"(c[10][3]), "+f"(c[11][0]), "+f"(c[11][1]), "+f"(c[11][2]),
        "+f"(c[11][3]), "+f"(c[12][0]), "+f"(c[12][1]), "+f"(c[12][2]), "+f"(c[12][3]),
        "+f"(c[13][0]), "+f"(c[13][1]), "+f"(c[13][2]), "+f"(c[13][3]), "+f"(c[14][0]),
        "+f"(c[14][1]), "+f"(c[14][2]), "+f"(c[14][3]), "+f"(c[15][0]), "+f"(c[15][1]),
        "+f"(c[15][2]), "+f"(c[15][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits), "r"(static_cast<int>(sums)));
}

/// a and b (16, 8) or (16, 64), both in tiles: their sums run down the rows. `a` lies in one tile.
__device__ inline void multiply_columns_async(float (&c)[1][4], MatrixDescriptor a,
                                              MatrixDescriptor b, Sums sums) {
  asm volatile(
      "{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, %6, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3}, "
      "%4, %5, accumulate, 1, 1, 1, 1;\n}"
      : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3])
      : "l"(a.bits), "l"(b.bits), "r"(static_cast<int>(sums)));
}
__device__ inline void multiply_columns_async(float (&c)[8][4], MatrixDescriptor a,
                                              MatrixDescriptor b, Sums sums) {
  asm volatile(
      "{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, accumulate, 1, 1, 1, 1;\n}"
      : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]),
        "+f"(c[1][2]), "+f"(c[1][3]), "+f"(c[2][0]), "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]),
        "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3]), "+f"(c[4][0]), "+f"(c[4][1]),
        "+f"(c[4][2]), "+f"(c[4][3]), "+f"(c[5][0]), "+f"(c[5][1]), "+f"(c[5][2]), "+f"(c[5][3]),
        "+f"(c[6][0]), "+f"(c[6][1]), "+f"(c[6][2]), "+f"(c[6][3]), "+f"(c[7][0]), "+f"(c[7][1]),
        "+f"(c[7][2]), "+f"(c[7][3])
      : "l"(a.bits), "l"(b.bits), "r"(static_cast<int>(sums)));
}

// --- Barriers that count -------------------------------------------------------------------------

/// A barrier in shared memory, eight bytes. It passes a phase when all arrivals and all announced
/// bytes have come; phases are counted by their parity, the first is 0.
using BarrierAddress = SharedAddress;

__device__ inline void barrier_init(BarrierAddress barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
/// After the last barrier_init, before others use the barriers: they are there for copies too.
__device__ inline void barriers_ready() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ inline void barrier_arrive(BarrierAddress barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
/// Arrives and announces bytes that copies will bring.
__device__ inline void barrier_arrive_expecting(BarrierAddress barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
/// Until the barrier has passed the phase of this parity; of the phase before the first it has.
__device__ inline void barrier_wait(BarrierAddress barrier, int parity) {
  std::uint32_t passed = 0;
  while (passed == 0) {
    asm volatile(
        "{\n.reg .pred passed;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 passed, [%1], %2;\n"
        "selp.u32 %0, 1, 0, passed;\n}"
        : "=r"(passed)
        : "r"(barrier), "r"(parity)
        : "memory");
  }
}

/// kThreads threads of the block, whole warps, that meet under a number of their own, 1 to 15.
template <int kThreads>
__device__ inline void partial_barrier(int number) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "n"(kThreads) : "memory");
}

// --- Copies -------------------------------------------------------------------------------------

/// Starts the copy of the map's box at these coordinates into a tile; its bytes, those of elements
/// outside of the tensor too, which are 0, count at the barrier. One thread calls it.
__device__ inline void copy_box_async(SharedAddress tile, const TensorMap& map, int column,
                                      int head, int row, int sequence, BarrierAddress barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4, %5}], [%6];" ::"r"(tile),
      "l"(&map), "r"(column), "r"(head), "r"(row), "r"(sequence), "r"(barrier)
      : "memory");
}
/// The same of `bytes` that lie one behind the other; addresses and bytes are multiples of 16.
__device__ inline void copy_bytes_async(SharedAddress to, const void* from, int bytes,
                                        BarrierAddress barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(to),
      "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(barrier)
      : "memory");
}
/// What this thread has stored in shared memory is there for products and copies to come.
__device__ inline void publish_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// --- Registers ----------------------------------------------------------------------------------

/// All warps of a warpgroup: registers of a thread from here on, a multiple of 8.
template <int kCount>
__device__ inline void give_registers_back() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}

}  // namespace ssmax::device
