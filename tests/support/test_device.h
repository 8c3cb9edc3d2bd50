#pragma once

#include <gtest/gtest.h>

#include <string>

#include "device/cuda_backend.h"
#include "device/gpus.h"
#include "device/launch.h"

// What the tests of a program run on. Every test of the rooms with a CUDA side is linked twice:
// into a program for the CPU, and into one with the CUDA backend or its emulation, where those that
// ask here run on that device.

namespace ssmax::testing {

/// Whether this program was linked with a CUDA backend.
inline bool has_cuda_backend() { return device::is_linked<device::cuda::find_gpus>(); }

/// Which of the GPUs; ranks of one machine take them in turn.
inline std::size_t test_gpu = 0;

/// A GPU in a program with a CUDA backend, else the CPU.
inline device::Device test_device() {
  const auto& found = device::gpus().found;
  return found.empty() ? device::Device{}
                       : device::gpu_device(found[test_gpu % found.size()].index);
}

inline bool on_cpu() { return test_device().kind == device::DeviceKind::cpu; }

/// The emulated device stands its own guards around memory.
inline bool is_emulated() { return !on_cpu() && device::gpus().found[0].name == "emulated device"; }

/// True in a program for a GPU on a machine without one, where the test is marked as skipped.
inline bool skips_without_gpu() {
  if (!has_cuda_backend() || !on_cpu()) return false;
  [] { GTEST_SKIP() << device::gpus().reason; }();
  return true;
}

}  // namespace ssmax::testing
