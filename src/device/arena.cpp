#include "device/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/checked.h"
#include "base/errors.h"
#include "base/format.h"
#include "device/cuda_backend.h"
#include "device/gpus.h"
#include "device/host_memory.h"

namespace ssmax::device {

namespace {

constexpr std::int64_t kHugePage = std::int64_t{2} << 20;

/// Anonymous pages: zero-filled, page-aligned, large pages where the system has them.
void* map_pages(std::int64_t bytes) {
  void* data = mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return nullptr;
  if (bytes >= kHugePage) madvise(data, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
  return data;
}

void* take(Device device, std::int64_t bytes) {
  return device.kind == DeviceKind::cuda ? cuda::allocate(device.index, bytes) : map_pages(bytes);
}

void give_back(Device device, void* data, std::int64_t bytes) {
  if (device.kind == DeviceKind::cuda) {
    cuda::release(device.index, data);
  } else {
    munmap(data, static_cast<std::size_t>(bytes));
  }
}

}  // namespace

Arena::Arena(Device device, ArenaMode mode) : device_(device), mode_(mode) {
  if (device.kind == DeviceKind::cuda && !planning()) gpu_device(device.index);
}

Arena::~Arena() {
  for (const Block& block : blocks_) give_back(device_, block.data, block.bytes);
}

Arena::Arena(Arena&& other) noexcept
    : device_(other.device_),
      mode_(other.mode_),
      blocks_(std::exchange(other.blocks_, {})),
      report_(std::exchange(other.report_, {})) {}

Arena& Arena::operator=(Arena&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(mode_, other.mode_);
  std::swap(blocks_, other.blocks_);
  std::swap(report_, other.report_);
  return *this;
}

Tensor Arena::allocate(std::string_view label, DType dtype, const Shape& shape) {
  const std::int64_t bytes = base::checked_product(shape.elements(), size_of(dtype));
  const auto known = std::find_if(report_.begin(), report_.end(),
                                  [&](const Allocation& entry) { return entry.label == label; });
  if (known != report_.end()) {
    known->bytes += bytes;
  } else {
    report_.push_back({std::string(label), bytes});
  }
  if (planning() || bytes == 0) return {nullptr, dtype, shape, device_};
  void* data = take(device_, bytes);
  if (data == nullptr) {
    throw base::Error(base::ErrorKind::device,
                      "out of memory: " + std::string(label) + " needs " +
                          base::format_bytes(bytes) + ", free are " +
                          base::format_bytes(available_bytes(device_)) +
                          "; take smaller batches or shorter texts, in training "
                          "training.micro_batch_sequences or training.recompute=block");
  }
  blocks_.push_back({data, bytes});
  return {data, dtype, shape, device_};
}

std::int64_t Arena::bytes() const {
  return std::accumulate(
      report_.begin(), report_.end(), std::int64_t{0},
      [](std::int64_t sum, const Allocation& entry) { return sum + entry.bytes; });
}

std::int64_t available_bytes(Device device) {
  if (device.kind == DeviceKind::cuda) return cuda::available_bytes(device.index);
  return available_host_bytes();
}

}  // namespace ssmax::device
