#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "device/tensor.h"

namespace ssmax::device {

struct Gpu {
  int index = 0;
  std::string name;
  std::string bus;         ///< its address in the machine, "0000:3B:00.0": the same in any process
  std::int64_t bytes = 0;  ///< of memory in all
  int capability_major = 0;
  int capability_minor = 0;
  int multiprocessors = 0;
};

/// What a look for GPUs gave.
struct GpuSearch {
  std::vector<Gpu> found;  ///< those that can run this program
  std::string reason;      ///< why there is none: a sentence for the user that says how to fix it
};

/// The GPUs of this machine; looked for once.
const GpuSearch& gpus();

/// The device cuda:index; Error(device) with the reason when this process cannot use it.
Device gpu_device(int index = 0);

/// Of GPUs that gpus() has found.
std::string bus_of(Device device);
std::int64_t multiprocessors(Device device);
int capability_major(Device device);

/// "NVIDIA H100 (80.0 GB, compute capability 9.0)", or "CPU".
std::string describe(Device device);

}  // namespace ssmax::device
