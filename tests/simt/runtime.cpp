#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "cuda.h"
#include "cuda_runtime.h"
#include "simt/deferral.h"
#include "simt/device_memory.h"

// The runtime's calls on the emulated device. Everything is done when a call returns, unless the
// work of streams is deferred: then it is done when somebody waits for it.

namespace simt = ssmax::simt;

namespace {

constexpr std::size_t kTotalBytes = std::size_t{4} << 30;
constexpr int kLeastPriority = 0;
constexpr int kGreatestPriority = -5;

using Task = std::function<void()>;

/// What a stream has been given, in order.
struct Work {
  std::mutex mutex;  // of what follows
  std::deque<Task> waiting;
  std::uint64_t given = 0;
  std::uint64_t begun = 0;
};

std::atomic<bool> deferred = false;

/// One piece of work runs at a time, on the thread that waits for it.
std::recursive_mutex running;

struct Streams {
  std::mutex mutex;
  std::vector<std::weak_ptr<Work>> all;
};
Streams& streams() {
  static Streams instance;
  return instance;
}

void run_until(Work& work, std::uint64_t end) {
  const std::lock_guard one(running);
  // Once for all: opening takes longer than a small kernel.
  std::optional<simt::OpenDeviceMemory> open;
  while (true) {
    Task next;
    {
      const std::lock_guard lock(work.mutex);
      if (work.begun >= end) return;
      next = std::move(work.waiting.front());
      work.waiting.pop_front();
      ++work.begun;
    }
    if (!open) open.emplace();
    next();
  }
}

std::uint64_t given_to(Work& work) {
  const std::lock_guard lock(work.mutex);
  return work.given;
}

void run_all() {
  std::vector<std::shared_ptr<Work>> open;
  {
    Streams& known = streams();
    const std::lock_guard lock(known.mutex);
    std::erase_if(known.all, [](const auto& work) { return work.expired(); });
    for (const auto& work : known.all) open.push_back(work.lock());
  }
  for (const auto& work : open) run_until(*work, given_to(*work));
}

}  // namespace

struct ssmax_simt_stream {
  int priority = 0;  // kept for who asks: the emulated device has one kernel at a time
  std::shared_ptr<Work> work = std::make_shared<Work>();
};
struct ssmax_simt_event {
  std::chrono::steady_clock::time_point time;
  std::shared_ptr<Work> work;  // null until it is recorded
  std::uint64_t end = 0;       // of the work that it stands behind
};

void simt::set_deferred(bool on) {
  deferred = on;
  if (!on) run_all();
}

void simt::submit(cudaStream_t stream, Task task) {
  if (!deferred || stream == nullptr) return task();
  Work& work = *stream->work;
  const std::lock_guard lock(work.mutex);
  work.waiting.push_back(std::move(task));
  ++work.given;
}

namespace {

struct AskedShared {
  std::mutex mutex;
  std::map<const void*, std::size_t> bytes;  // by kernel
};
AskedShared& asked_shared() {
  static AskedShared instance;
  return instance;
}

}  // namespace

cudaError_t simt::ask_for_shared(const void* kernel, int bytes) {
  if (bytes < 0 || static_cast<std::size_t>(bytes) > most_shared_bytes)
    return cudaErrorInvalidValue;
  AskedShared& all = asked_shared();
  const std::lock_guard lock(all.mutex);
  all.bytes[kernel] = static_cast<std::size_t>(bytes);
  return cudaSuccess;
}

std::size_t simt::asked_shared_bytes(const void* kernel) {
  AskedShared& all = asked_shared();
  const std::lock_guard lock(all.mutex);
  const auto asked = all.bytes.find(kernel);
  return asked == all.bytes.end() ? 0 : asked->second;
}

namespace {

/// Of device memory every byte must belong to one allocation.
bool is_valid(const void* data, std::size_t bytes, bool must_be_device) {
  if (simt::points_to_device(data)) return simt::is_device_memory(data, bytes);
  return !must_be_device;
}

bool copy_is_valid(const void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  return bytes == 0 || (is_valid(to, bytes, to_device) && is_valid(from, bytes, from_device));
}

/// Kept for whoever asks, as the runtime does; only of calls that ssmax goes on after.
thread_local cudaError_t last_error = cudaSuccess;

cudaError_t refused(cudaError_t error) { return last_error = error; }

}  // namespace

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    default:
      return "an error that the emulated device does not make";
  }
}
const char* cudaGetErrorName(cudaError_t error) { return cudaGetErrorString(error); }
cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidValue; }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int /*device*/) {
  *properties = {};
  std::strcpy(properties->name, "emulated device");
  properties->totalGlobalMem = kTotalBytes;
  properties->major = 9;
  properties->multiProcessorCount = 4;
  return cudaSuccess;
}

/// Every process emulates a device of its own.
cudaError_t cudaDeviceGetPCIBusId(char* text, int bytes, int /*device*/) {
  std::snprintf(text, static_cast<std::size_t>(bytes), "emulated:%d", getpid());
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int /*device*/) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = 4;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(simt::most_shared_bytes);
      break;
  }
  return cudaSuccess;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function,
                                             unsigned /*version*/, unsigned long long /*flags*/,
                                             cudaDriverEntryPointQueryResult* result) {
  const bool known = std::strcmp(symbol, "cuTensorMapEncodeTiled") == 0;
  *function = known ? reinterpret_cast<void*>(&cuTensorMapEncodeTiled) : nullptr;
  *result = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** data, std::size_t bytes) {
  if (bytes > kTotalBytes - simt::allocated_device_bytes()) {
    return refused(cudaErrorMemoryAllocation);
  }
  *data = simt::allocate_device_memory(bytes);
  return *data == nullptr ? refused(cudaErrorMemoryAllocation) : cudaSuccess;
}
cudaError_t cudaFree(void* data) {
  run_all();  // as the runtime does
  return data == nullptr || simt::free_device_memory(data) ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaMallocHost(void** data, std::size_t bytes) {
  *data = std::malloc(bytes);
  return *data == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaFreeHost(void* data) {
  std::free(data);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = kTotalBytes - simt::allocated_device_bytes();
  *total = kTotalBytes;
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (!copy_is_valid(to, from, bytes, kind)) return cudaErrorInvalidValue;
  simt::submit(stream, [=] {
    const simt::OpenDeviceMemory open{to, from};
    std::memmove(to, from, bytes);
  });
  return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from,
                              std::size_t from_pitch, std::size_t width, std::size_t height,
                              cudaMemcpyKind kind, cudaStream_t stream) {
  if (height == 0 || width == 0) return cudaSuccess;
  if (width > to_pitch || width > from_pitch) return cudaErrorInvalidValue;
  const bool to_valid = copy_is_valid(to, from, width, kind);
  const auto* last_from = static_cast<const char*>(from) + (height - 1) * from_pitch;
  auto* last_to = static_cast<char*>(to) + (height - 1) * to_pitch;
  if (!to_valid || !copy_is_valid(last_to, last_from, width, kind)) return cudaErrorInvalidValue;
  simt::submit(stream, [=] {
    const simt::OpenDeviceMemory open{to, from};
    for (std::size_t row = 0; row < height; ++row) {
      std::memcpy(static_cast<char*>(to) + row * to_pitch,
                  static_cast<const char*>(from) + row * from_pitch, width);
    }
  });
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* data, int value, std::size_t bytes, cudaStream_t stream) {
  if (bytes > 0 && !simt::is_device_memory(data, bytes)) return cudaErrorInvalidValue;
  simt::submit(stream, [=] {
    const simt::OpenDeviceMemory open{data};
    std::memset(data, value, bytes);
  });
  return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = kLeastPriority;
  *greatest = kGreatestPriority;
  return cudaSuccess;
}
cudaError_t cudaStreamGetPriority(cudaStream_t stream, int* priority) {
  *priority = stream->priority;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned /*flags*/, int priority) {
  if (priority > kLeastPriority || priority < kGreatestPriority) return cudaErrorInvalidValue;
  *stream = new ssmax_simt_stream;
  (*stream)->priority = priority;
  Streams& known = streams();
  const std::lock_guard lock(known.mutex);
  known.all.push_back((*stream)->work);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  (void)cudaStreamSynchronize(stream);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream != nullptr) run_until(*stream->work, given_to(*stream->work));
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned /*flags*/) {
  if (event->work == nullptr) return cudaSuccess;
  simt::submit(stream, [work = event->work, end = event->end] { run_until(*work, end); });
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned /*flags*/) {
  *event = new ssmax_simt_event;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->time = std::chrono::steady_clock::now();
  event->work = stream->work;
  event->end = given_to(*stream->work);
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->work != nullptr) run_until(*event->work, event->end);
  return cudaSuccess;
}
/// Each look brings the work on by one.
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (event->work == nullptr) return cudaSuccess;
  const std::lock_guard one(running);
  const std::uint64_t begun = [&] {
    const std::lock_guard lock(event->work->mutex);
    return event->work->begun;
  }();
  if (begun >= event->end) return cudaSuccess;
  run_until(*event->work, begun + 1);
  return refused(cudaErrorNotReady);
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}
