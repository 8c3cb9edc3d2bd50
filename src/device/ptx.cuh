#pragma once

#include <cstdint>

#include "device/dtype.h"

/// Every PTX instruction that the kernels use. A warp calls the matrix instructions together. The
/// layouts are those of the PTX ISA, with row = lane / 4 and column = 2 (lane % 4):
///   A (16, 16): a[0] at (row, column), a[1] at (row + 8, column), a[2] at (row, column + 8),
///               a[3] at (row + 8, column + 8), each with the element to its right in the upper
///               half
///   B (16, 8):  b0 at (column, row) with (column + 1, row) in the upper half, b1 eight rows below
///   C (16, 8):  c[0], c[1] at (row, column), (row, column + 1); c[2], c[3] eight rows below
namespace ssmax::device {

/// An address in shared memory as PTX wants it, in bytes.
using SharedAddress = std::uint32_t;

__device__ inline SharedAddress shared_address(const void* pointer) {
  return static_cast<SharedAddress>(__cvta_generic_to_shared(pointer));
}

/// c += a b: bf16 operands, fp32 sums. Volatile, so that it stays out of branches around the use of
/// c, which not all lanes may take.
__device__ inline void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                    std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
      "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Four 8 x 8 matrices of bf16: lane 8 m + r points to row r (16 bytes) of matrix m; lane l
/// receives elements (l / 4, 2 (l % 4)) and the one to its right of matrix m in to[m].
__device__ inline void load_matrices(std::uint32_t (&to)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row));
}

/// The same, each matrix transposed: lane l receives (2 (l % 4), l / 4) and the one below it.
__device__ inline void load_matrices_transposed(std::uint32_t (&to)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row));
}

/// Whether a copy reads its source or writes zeros.
enum class Fill : unsigned char { source, zero };

/// Starts a copy of 16 aligned bytes from global to shared memory; it lands at the wait. The source
/// of zeros is not read.
__device__ inline void copy_async_16(SharedAddress shared, const void* global, Fill fill) {
  const int bytes = fill == Fill::source ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global),
               "r"(bytes)
               : "memory");
}
/// Closes the group of this thread's copies started since the last commit.
__device__ inline void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most kPending of this thread's latest groups are under way. Other threads see the
/// copies after a barrier.
template <int kPending>
__device__ inline void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

/// x, of which the compiler knows no more: what follows from it is computed here, and not kept in
/// registers from before a loop.
__device__ inline unsigned only_here(unsigned x) {
  asm volatile("" : "+r"(x));
  return x;
}

/// 2^x within 2 ulp; subnormal results are 0.
__device__ inline float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Both rounded to bf16, `low` in the lower half.
__device__ inline std::uint32_t pack_bf16(float low, float high) {
  std::uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

}  // namespace ssmax::device
