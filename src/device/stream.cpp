#include "device/stream.h"

#include <cstring>

#include "base/errors.h"
#include "device/cuda_backend.h"
#include "device/gpus.h"
#include "device/launch.h"
#include "device/parallel.h"

namespace ssmax::device {

namespace {

constexpr std::int64_t kBytesPerTask = std::int64_t{1} << 20;

using Queue = std::unique_ptr<cuda::Queue, void (*)(cuda::Queue*)>;

Queue open_queue(Device device, Priority priority) {
  if (device.kind == DeviceKind::cpu) return {nullptr, [](cuda::Queue*) {}};
  return {cuda::create_queue(gpu_device(device.index).index, priority), cuda::destroy_queue};
}

[[maybe_unused]] bool is_inside(const ConstTensor& storage, std::int64_t start, std::int64_t stride,
                                std::int64_t count, std::int64_t width) {
  return start >= 0 && stride >= width &&
         (count == 0 || start + (count - 1) * stride + width <= storage.elements());
}

}  // namespace

void refuse_cuda() {
  throw base::Error(base::ErrorKind::device,
                    "this operation has no CUDA side in this program; use training.device=cpu");
}

Stream::Stream(Device device, Priority priority)
    : device_(device), queue_(open_queue(device, priority)) {}

void Stream::synchronize() {
  if (queue_ != nullptr) cuda::synchronize(queue_.get());
}

void copy(Stream& stream, const Tensor& destination, const ConstTensor& source) {
  assert(destination.dtype() == source.dtype() && destination.elements() == source.elements());
  if (stream.queue() != nullptr) {
    cuda::copy(stream.queue(), destination, source);
    return;
  }
  assert(destination.device() == stream.device() && source.device() == stream.device());
  char* to = static_cast<char*>(destination.raw());
  const char* from = static_cast<const char*>(source.raw());
  parallel_for(source.bytes(), kBytesPerTask, [&](std::int64_t begin, std::int64_t end) {
    std::memcpy(to + begin, from + begin, static_cast<std::size_t>(end - begin));
  });
}

void copy_rows(Stream& stream, const RowsWithin<Tensor>& destination,
               const RowsWithin<ConstTensor>& source, std::int64_t count, std::int64_t width) {
  assert(destination.storage.dtype() == source.storage.dtype());
  assert(is_inside(destination.storage, destination.start, destination.stride, count, width));
  assert(is_inside(source.storage, source.start, source.stride, count, width));
  if (stream.queue() != nullptr) {
    cuda::copy_rows(stream.queue(), destination, source, count, width);
    return;
  }
  const std::int64_t size = size_of(source.storage.dtype());
  char* to = static_cast<char*>(destination.storage.raw()) + destination.start * size;
  const char* from = static_cast<const char*>(source.storage.raw()) + source.start * size;
  for (std::int64_t row = 0; row < count; ++row) {
    std::memcpy(to + row * destination.stride * size, from + row * source.stride * size,
                static_cast<std::size_t>(width * size));
  }
}

void fill_zero(Stream& stream, const Tensor& destination) {
  if (stream.queue() != nullptr) {
    cuda::fill_zero(stream.queue(), destination);
    return;
  }
  assert(destination.device() == stream.device());
  char* to = static_cast<char*>(destination.raw());
  parallel_for(destination.bytes(), kBytesPerTask, [&](std::int64_t begin, std::int64_t end) {
    std::memset(to + begin, 0, static_cast<std::size_t>(end - begin));
  });
}

}  // namespace ssmax::device
