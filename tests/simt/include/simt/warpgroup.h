#pragma once

#include <cuda.h>

#include <cstdint>

#include "simt/engine.h"

// What src/device/warpgroup.cuh asks of the emulated device. Everything asynchronous happens at the
// last moment that the hardware allows: a copy when somebody has waited for its barrier, a product
// when its thread waits. Until then its target holds set bits.

namespace ssmax::simt {

void barrier_init(void* barrier, int arrivals);
/// The thread's barriers are there for copies too; one that is not may not be used.
void barriers_ready();
/// Arrives after it has announced `bytes` more.
void barrier_arrive(void* barrier, int bytes);
void barrier_wait(const Site& site, void* barrier, int parity);

/// Of a tensor's box from these coordinates, innermost first.
void copy_box(void* tile, const CUtensorMap& map, const int (&at)[4], void* barrier);

void copy_bytes(void* to, const void* from, int bytes, void* barrier);

/// An operand in shared memory: where element (i, k) lies, k counted along the sum.
struct SharedOperand {
  std::uint64_t descriptor = 0;
  bool along_rows = true;  // the sum runs along the rows of a tile, else down
};

/// Of one thread: c (64, columns) += a b, where `a` is in registers if `registers` is not null.
struct AsyncProduct {
  float* c = nullptr;
  int columns = 0;
  const std::uint32_t* registers = nullptr;
  SharedOperand a;
  SharedOperand b;
  bool adds = true;
};

void products_begin();
void multiply_async(const AsyncProduct& product);
void products_commit();
/// Until at most `pending` of the thread's latest groups are under way.
void products_wait(const Site& site, int pending);

}  // namespace ssmax::simt
