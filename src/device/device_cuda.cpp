#include <cuda_runtime.h>

#include <array>

#include "base/errors.h"
#include "device/cuda_backend.h"
#include "device/cuda_check.h"

namespace ssmax::device::cuda {

namespace {

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

/// What the user can do about an error that is not a mistake of ours.
std::string advice_for(cudaError_t status) {
  switch (status) {
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
      return "; this program was not built for this GPU: configure with "
             "-DCMAKE_CUDA_ARCHITECTURES=native";
    case cudaErrorMemoryAllocation:
      return "; lower training.micro_batch_sequences or use training.recompute=block";
    default:
      return "";
  }
}

}  // namespace

void check(cudaError_t status, const std::string& what, const std::source_location& where) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // an error that is not sticky must not be reported twice
  throw base::Error(base::ErrorKind::device, std::string("CUDA: ") + cudaGetErrorString(status) +
                                                 " (" + cudaGetErrorName(status) + ") in " + what +
                                                 " at " + where.file_name() + ":" +
                                                 std::to_string(where.line()) + advice_for(status));
}

void use(int gpu) {
  thread_local int current = -1;
  if (current == gpu) return;
  CUDA_CHECK(cudaSetDevice(gpu));
  current = gpu;
}

std::int64_t most_shared_bytes(int gpu) {
  int most = 0;
  CUDA_CHECK(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, gpu));
  return most;
}

void require_shared(int gpu, std::int64_t bytes) {
  const std::int64_t most = most_shared_bytes(gpu);
  if (bytes <= most) return;
  throw base::Error(base::ErrorKind::device,
                    "a block needs " + std::to_string(bytes) +
                        " bytes of shared memory, this GPU gives " + std::to_string(most) +
                        "; use training.precision=fp32 or training.device=cpu");
}

GpuSearch find_gpus() {
  GpuSearch search;
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver) {
    int driver = 0;
    int runtime = 0;
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    search.reason =
        driver == 0
            ? "no NVIDIA driver is loaded (libcuda.so.1 is missing); install the driver of the "
              "GPU, or use training.device=cpu"
            : "the NVIDIA driver is too old: it serves CUDA " + version_text(driver) +
                  ", this program needs " + version_text(runtime) +
                  "; update the driver, build with an older CUDA Toolkit, or use "
                  "training.device=cpu";
    return search;
  }
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
    search.reason =
        "the NVIDIA driver sees no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use "
        "training.device=cpu";
    return search;
  }
  if (status != cudaSuccess) {
    search.reason = std::string("the GPU cannot be used: ") + cudaGetErrorString(status) +
                    "; check nvidia-smi, or use training.device=cpu";
    return search;
  }
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties;
    CUDA_CHECK(cudaGetDeviceProperties(&properties, index));
    if (properties.major < 8) {
      search.reason = std::string(properties.name) + " has compute capability " +
                      std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                      "; the CUDA backend needs 8.0 (Ampere) or newer; use training.device=cpu";
      continue;
    }
    std::array<char, 32> bus{};
    CUDA_CHECK(cudaDeviceGetPCIBusId(bus.data(), static_cast<int>(bus.size()), index));
    search.found.push_back({index, properties.name, bus.data(),
                            static_cast<std::int64_t>(properties.totalGlobalMem), properties.major,
                            properties.minor, properties.multiProcessorCount});
  }
  return search;
}

void* allocate(int gpu, std::int64_t bytes) {
  use(gpu);
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, static_cast<std::size_t>(bytes));
  if (status == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    return nullptr;
  }
  check(status, "cudaMalloc");
  // On the default stream and waited for: streams of the backend do not wait for that one.
  CUDA_CHECK(cudaMemsetAsync(data, 0, static_cast<std::size_t>(bytes), nullptr));
  CUDA_CHECK(cudaStreamSynchronize(nullptr));
  return data;
}

void release(int gpu, void* data) {
  // Called by destructors: an error here came up before or will come up at the next call.
  try {
    use(gpu);
  } catch (const base::Error&) {
    return;
  }
  (void)cudaFree(data);
}

std::int64_t available_bytes(int gpu) {
  use(gpu);
  std::size_t free_bytes = 0;
  std::size_t total = 0;
  CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total));
  return static_cast<std::int64_t>(free_bytes);
}

}  // namespace ssmax::device::cuda
