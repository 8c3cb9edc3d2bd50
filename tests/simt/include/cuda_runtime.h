#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <utility>

#include "simt/engine.h"

// Stands before the toolkit's header of this name: the language and the part of the runtime that
// ssmax uses, on an emulated device. Kernels run when they are launched, copies are done when they
// return, unless simt/deferral.h says otherwise.

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __grid_constant__

// --- Vector types ---------------------------------------------------------------------------

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3() = default;
  constexpr dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }

// --- Where a thread is ----------------------------------------------------------------------

inline thread_local constinit uint3 threadIdx{};
inline thread_local constinit uint3 blockIdx{};
inline thread_local constinit uint3 blockDim{};
inline thread_local constinit uint3 gridDim{};
inline constexpr int warpSize = 32;

// --- Synchronization and warp operations ------------------------------------------------------

inline void __syncthreads(ssmax::simt::Site site = ssmax::simt::Site::current()) {
  ssmax::simt::block_barrier(site);
}

inline void __syncwarp(unsigned mask = 0xffffffffU,
                       ssmax::simt::Site site = ssmax::simt::Site::current()) {
  char nothing = 0;
  ssmax::simt::collective(site, "__syncwarp", mask, 0, nothing, [](auto&) {});
}

namespace ssmax::simt {

enum class Shuffle : std::int64_t { from_lane, exclusive_or, up, down };

template <class T>
struct ShuffleLane {
  T value;
  T result;
  unsigned source;  // lane to read
};

/// `source` as computed by the caller; a lane outside of the mask has nothing to give.
template <class T>
T shuffle(const Site& site, const char* operation, unsigned mask, T value, unsigned source,
          std::int64_t immediate) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  ShuffleLane<T> lane{value, value, source};
  collective(site, operation, mask, immediate, lane, [](auto& lanes) {
    for (auto* one : lanes) {
      if (one == nullptr) continue;
      const auto* other = lanes[one->source];
      if (other == nullptr) fail("a shuffle reads a lane that is not in its mask");
      one->result = other->value;
    }
  });
  return lane.result;
}

}  // namespace ssmax::simt

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              ssmax::simt::Site site = ssmax::simt::Site::current()) {
  const unsigned lane = ssmax::simt::lane_index();
  const auto w = static_cast<unsigned>(width);
  return ssmax::simt::shuffle(site, "__shfl_sync", mask, value,
                              (lane & ~(w - 1)) | (static_cast<unsigned>(source) & (w - 1)), width);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32,
                  ssmax::simt::Site site = ssmax::simt::Site::current()) {
  const unsigned lane = ssmax::simt::lane_index();
  const auto w = static_cast<unsigned>(width);
  const unsigned source = lane ^ static_cast<unsigned>(lanes);
  const bool inside = (source & ~(w - 1)) <= (lane & ~(w - 1));
  return ssmax::simt::shuffle(site, "__shfl_xor_sync", mask, value, inside ? source : lane,
                              lanes * 64 + width);
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 ssmax::simt::Site site = ssmax::simt::Site::current()) {
  const unsigned lane = ssmax::simt::lane_index();
  const unsigned begin = lane & ~(static_cast<unsigned>(width) - 1);
  return ssmax::simt::shuffle(site, "__shfl_up_sync", mask, value,
                              lane >= begin + delta ? lane - delta : lane,
                              static_cast<std::int64_t>(delta) * 64 + width);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   ssmax::simt::Site site = ssmax::simt::Site::current()) {
  const unsigned lane = ssmax::simt::lane_index();
  const unsigned end = (lane & ~(static_cast<unsigned>(width) - 1)) + static_cast<unsigned>(width);
  return ssmax::simt::shuffle(site, "__shfl_down_sync", mask, value,
                              lane + delta < end ? lane + delta : lane,
                              static_cast<std::int64_t>(delta) * 64 + width);
}

namespace ssmax::simt {

struct VoteLane {
  bool vote;
  unsigned votes;
};

inline unsigned vote(const Site& site, const char* operation, unsigned mask, bool own) {
  VoteLane lane{own, 0};
  collective(site, operation, mask, 0, lane, [](auto& lanes) {
    unsigned votes = 0;
    for (unsigned i = 0; i < kWarpSize; ++i) {
      if (lanes[i] != nullptr && lanes[i]->vote) votes |= 1U << i;
    }
    for (auto* one : lanes) {
      if (one != nullptr) one->votes = votes;
    }
  });
  return lane.votes;
}

}  // namespace ssmax::simt

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              ssmax::simt::Site site = ssmax::simt::Site::current()) {
  return ssmax::simt::vote(site, "__ballot_sync", mask, predicate != 0);
}
inline int __any_sync(unsigned mask, int predicate,
                      ssmax::simt::Site site = ssmax::simt::Site::current()) {
  return ssmax::simt::vote(site, "__any_sync", mask, predicate != 0) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      ssmax::simt::Site site = ssmax::simt::Site::current()) {
  return ssmax::simt::vote(site, "__all_sync", mask, predicate != 0) == mask ? 1 : 0;
}

// --- Arithmetic -----------------------------------------------------------------------------

inline float rsqrtf(float x) { return 1.0F / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0F / x; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
template <class T>
T __ldg(const T* address) {
  return *address;
}

// --- The runtime ------------------------------------------------------------------------------

enum cudaError_t : int {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorInvalidDeviceFunction = 98,
  cudaErrorNoDevice = 100,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorNotReady = 600,
};
enum cudaMemcpyKind : int {
  cudaMemcpyHostToHost = 0,
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost = 2,
  cudaMemcpyDeviceToDevice = 3,
  cudaMemcpyDefault = 4,
};
enum cudaFuncAttribute : int { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDeviceAttr : int {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};
struct cudaFuncAttributes {
  int numRegs = 0;
};
struct cudaDeviceProp {
  char name[256] = "";
  std::size_t totalGlobalMem = 0;
  int major = 0;
  int minor = 0;
  int multiProcessorCount = 0;
};
using cudaStream_t = struct ssmax_simt_stream*;
using cudaEvent_t = struct ssmax_simt_event*;
inline constexpr unsigned cudaStreamNonBlocking = 1;
inline constexpr unsigned cudaEventDefault = 0;
inline constexpr unsigned cudaEventBlockingSync = 1;
inline constexpr unsigned cudaEventDisableTiming = 2;

struct cudaLaunchAttribute {
  int id = 0;
};
struct cudaLaunchConfig_t {
  dim3 gridDim;
  dim3 blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

const char* cudaGetErrorString(cudaError_t error);
const char* cudaGetErrorName(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetPCIBusId(char* text, int bytes, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
enum cudaDriverEntryPointQueryResult : int {
  cudaDriverEntryPointSuccess = 0,
  cudaDriverEntryPointSymbolNotFound = 1,
};
inline constexpr unsigned long long cudaEnableDefault = 0;
cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned version,
                                             unsigned long long flags,
                                             cudaDriverEntryPointQueryResult* result);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaMalloc(void** data, std::size_t bytes);
cudaError_t cudaFree(void* data);
cudaError_t cudaMallocHost(void** data, std::size_t bytes);
cudaError_t cudaFreeHost(void* data);
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total);
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from,
                              std::size_t from_pitch, std::size_t width, std::size_t height,
                              cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* data, int value, std::size_t bytes, cudaStream_t stream);
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int priority);
cudaError_t cudaStreamGetPriority(cudaStream_t stream, int* priority);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end);

namespace ssmax::simt {

/// Runs `task`, or leaves it for the stream to do later.
void submit(cudaStream_t stream, std::function<void()> task);

/// What a kernel has asked for by name, of dynamic shared memory.
cudaError_t ask_for_shared(const void* kernel, int bytes);
std::size_t asked_shared_bytes(const void* kernel);

}  // namespace ssmax::simt

template <class T>
cudaError_t cudaMalloc(T** data, std::size_t bytes) {
  return cudaMalloc(reinterpret_cast<void**>(data), bytes);
}
template <class... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute /*name*/,
                                 int value) {
  return ssmax::simt::ask_for_shared(reinterpret_cast<const void*>(kernel), value);
}
template <class... Parameters>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes,
                                  void (* /*kernel*/)(Parameters...)) {
  *attributes = {};
  return cudaSuccess;
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const std::tuple<Parameters...> values(std::forward<Arguments>(arguments)...);
  const auto* address = reinterpret_cast<const void*>(kernel);
  const ssmax::simt::Launch launch{{config->gridDim.x, config->gridDim.y, config->gridDim.z},
                                   {config->blockDim.x, config->blockDim.y, config->blockDim.z},
                                   config->dynamicSmemBytes,
                                   address,
                                   ssmax::simt::asked_shared_bytes(address)};
  ssmax::simt::submit(config->stream, [launch, kernel, values] {
    ssmax::simt::run(launch, [&] { std::apply(kernel, values); });
  });
  return cudaSuccess;
}
