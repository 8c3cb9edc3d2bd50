#include "device/gpus.h"

#include "base/errors.h"
#include "base/format.h"
#include "device/cuda_backend.h"
#include "device/launch.h"

namespace ssmax::device {

const GpuSearch& gpus() {
  static const GpuSearch search = [] {
    if (is_linked<cuda::find_gpus>()) return cuda::find_gpus();
    GpuSearch none;
    none.reason =
        "this program was built without CUDA; configure with -DSSMAX_CUDA=ON (preset `cuda`), or "
        "use training.device=cpu";
    return none;
  }();
  return search;
}

Device gpu_device(int index) {
  const GpuSearch& search = gpus();
  for (const Gpu& gpu : search.found) {
    if (gpu.index == index) return {DeviceKind::cuda, index};
  }
  throw base::Error(base::ErrorKind::device, search.found.empty()
                                                 ? search.reason
                                                 : "there is no GPU " + std::to_string(index) +
                                                       "; this process sees " +
                                                       std::to_string(search.found.size()));
}

std::string bus_of(Device device) {
  for (const Gpu& gpu : gpus().found) {
    if (gpu.index == device.index) return gpu.bus;
  }
  return "";
}

std::int64_t multiprocessors(Device device) {
  for (const Gpu& gpu : gpus().found) {
    if (gpu.index == device.index) return gpu.multiprocessors;
  }
  return 1;
}

int capability_major(Device device) {
  for (const Gpu& gpu : gpus().found) {
    if (gpu.index == device.index) return gpu.capability_major;
  }
  return 0;
}

std::string describe(Device device) {
  if (device.kind == DeviceKind::cpu) return "CPU";
  for (const Gpu& gpu : gpus().found) {
    if (gpu.index != device.index) continue;
    return gpu.name + " (" + base::format_bytes(gpu.bytes) + ", compute capability " +
           std::to_string(gpu.capability_major) + "." + std::to_string(gpu.capability_minor) + ")";
  }
  return "GPU " + std::to_string(device.index);
}

}  // namespace ssmax::device
