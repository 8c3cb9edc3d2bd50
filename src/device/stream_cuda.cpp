#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>

#include "base/checked.h"
#include "device/cuda_backend.h"
#include "device/cuda_check.h"
#include "device/gpu_memory.h"
#include "device/queue.h"
#include "device/workspace_cuda.h"

namespace ssmax::device::cuda {

namespace {

constexpr std::size_t kMostGpus = 16;

/// Pinned memory that a transfer passes through; busy until the event.
struct Slot {
  void* data = nullptr;
  cudaEvent_t done = nullptr;

  void wait() {
    if (data != nullptr) {
      CUDA_CHECK(cudaEventSynchronize(done));
      return;
    }
    CUDA_CHECK(cudaMallocHost(&data, static_cast<std::size_t>(kStagingSlotBytes)));
    CUDA_CHECK(cudaEventCreateWithFlags(&done, cudaEventDisableTiming));
  }
};

/// Two slots in turn: one is filled or emptied by the processor while the other transfers.
struct Slots {
  std::mutex mutex;  // held for a whole copy
  std::array<Slot, 2> slots;
  std::size_t next = 0;

  Slot& take() {
    next = 1 - next;
    slots[next].wait();
    return slots[next];
  }
};

struct Staging {
  Slots up;
  Slots down;
};

/// Serves all streams and threads. Never freed: the driver may be gone before static objects are.
Staging& staging(int gpu) {
  static auto& all = *new std::array<Staging, kMostGpus>();
  return all.at(static_cast<std::size_t>(gpu));
}

void queue_copy(Queue* queue, void* to, const void* from, std::int64_t bytes, cudaMemcpyKind kind) {
  CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), kind, queue->stream));
}

void upload(Queue* queue, char* to, const char* from, std::int64_t bytes) {
  Slots& slots = staging(queue->gpu).up;
  const std::lock_guard lock(slots.mutex);
  for (std::int64_t begin = 0; begin < bytes; begin += kStagingSlotBytes) {
    const std::int64_t count = std::min(kStagingSlotBytes, bytes - begin);
    const Slot& slot = slots.take();
    std::memcpy(slot.data, from + begin, static_cast<std::size_t>(count));
    queue_copy(queue, to + begin, slot.data, count, cudaMemcpyHostToDevice);
    CUDA_CHECK(cudaEventRecord(slot.done, queue->stream));
  }
}

void download(Queue* queue, char* to, const char* from, std::int64_t bytes) {
  Slots& slots = staging(queue->gpu).down;
  const std::lock_guard lock(slots.mutex);
  const Slot* arriving = nullptr;
  std::int64_t arriving_begin = 0;
  const auto finish = [&](std::int64_t end) {
    CUDA_CHECK(cudaEventSynchronize(arriving->done));
    std::memcpy(to + arriving_begin, arriving->data,
                static_cast<std::size_t>(end - arriving_begin));
  };
  for (std::int64_t begin = 0; begin < bytes; begin += kStagingSlotBytes) {
    const Slot& slot = slots.take();
    queue_copy(queue, slot.data, from + begin, std::min(kStagingSlotBytes, bytes - begin),
               cudaMemcpyDeviceToHost);
    CUDA_CHECK(cudaEventRecord(slot.done, queue->stream));
    if (arriving != nullptr) finish(begin);
    arriving = &slot;
    arriving_begin = begin;
  }
  if (arriving != nullptr) finish(bytes);
}

}  // namespace

Queue* create_queue(int gpu, Priority priority) {
  use(gpu);
  auto queue = std::make_unique<Queue>();
  queue->gpu = gpu;
  int least = 0;
  int greatest = 0;
  CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  CUDA_CHECK(cudaStreamCreateWithPriority(&queue->stream, cudaStreamNonBlocking,
                                          priority == Priority::high ? greatest : least));
  return queue.release();
}

void destroy_queue(Queue* queue) {
  if (queue == nullptr) return;
  (void)cudaStreamSynchronize(queue->stream);  // what it works on may be freed next
  (void)cudaFree(queue->workspace);
  (void)cudaStreamDestroy(queue->stream);
  delete queue;
}

void* workspace(Stream& stream, std::int64_t bytes) {
  Queue& queue = *stream.queue();
  if (bytes <= queue.workspace_bytes) return queue.workspace;
  synchronize(&queue);  // work that is queued may use what is freed here
  CUDA_CHECK(cudaFree(queue.workspace));
  queue.workspace = nullptr;
  queue.workspace_bytes = 0;
  const std::int64_t rounded = base::div_up(bytes, kWorkspaceUnit) * kWorkspaceUnit;
  CUDA_CHECK(cudaMalloc(&queue.workspace, static_cast<std::size_t>(rounded)));
  queue.workspace_bytes = rounded;
  return queue.workspace;
}

void synchronize(Queue* queue) {
  use(queue->gpu);
  CUDA_CHECK(cudaStreamSynchronize(queue->stream));
}

void copy(Queue* queue, const Tensor& destination, const ConstTensor& source) {
  use(queue->gpu);
  auto* to = static_cast<char*>(destination.raw());
  const auto* from = static_cast<const char*>(source.raw());
  const bool to_gpu = destination.device().kind == DeviceKind::cuda;
  const bool from_gpu = source.device().kind == DeviceKind::cuda;
  if (to_gpu && from_gpu) {
    queue_copy(queue, to, from, source.bytes(), cudaMemcpyDeviceToDevice);
  } else if (to_gpu) {
    upload(queue, to, from, source.bytes());
  } else if (from_gpu) {
    download(queue, to, from, source.bytes());
  } else {
    std::memcpy(to, from, static_cast<std::size_t>(source.bytes()));
  }
}

void copy_rows(Queue* queue, const RowsWithin<Tensor>& destination,
               const RowsWithin<ConstTensor>& source, std::int64_t count, std::int64_t width) {
  use(queue->gpu);
  const std::int64_t size = size_of(source.storage.dtype());
  const auto bytes = [size](std::int64_t elements) {
    return static_cast<std::size_t>(elements * size);
  };
  CUDA_CHECK(cudaMemcpy2DAsync(
      static_cast<char*>(destination.storage.raw()) + bytes(destination.start),
      bytes(destination.stride),
      static_cast<const char*>(source.storage.raw()) + bytes(source.start), bytes(source.stride),
      bytes(width), static_cast<std::size_t>(count), cudaMemcpyDeviceToDevice, queue->stream));
}

void fill_zero(Queue* queue, const Tensor& destination) {
  use(queue->gpu);
  CUDA_CHECK(cudaMemsetAsync(destination.raw(), 0, static_cast<std::size_t>(destination.bytes()),
                             queue->stream));
}

}  // namespace ssmax::device::cuda
