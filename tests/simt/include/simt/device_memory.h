#pragma once

#include <cstddef>
#include <initializer_list>
#include <vector>

// Memory of the emulated device. Every allocation stands between pages that must not be touched and
// ends right before the second. Outside of kernels and copies it is closed: a host read or write
// ends the process with a message, as it would with a real GPU.

namespace ssmax::simt {

/// All bits set. Null when memory is short.
void* allocate_device_memory(std::size_t bytes);
/// False when `data` is no allocation.
bool free_device_memory(void* data);

/// Of all allocations, their sizes as asked for.
std::size_t allocated_device_bytes();

/// Whether [data, data + bytes) lies in one allocation.
bool is_device_memory(const void* data, std::size_t bytes);
struct DeviceMemory {
  const void* data = nullptr;
  std::size_t bytes = 0;
};
/// The allocation that `data` points into, or nothing.
DeviceMemory device_memory_around(const void* data);
/// Whether `data` points into an allocation or the pages around it.
bool points_to_device(const void* data);

/// Opens all device memory for as long as it lives; nests.
class OpenDeviceMemory {
 public:
  OpenDeviceMemory();
  /// Only the allocations that these point into; others are of the host.
  OpenDeviceMemory(std::initializer_list<const void*> addresses);
  ~OpenDeviceMemory();
  OpenDeviceMemory(const OpenDeviceMemory&) = delete;
  OpenDeviceMemory& operator=(const OpenDeviceMemory&) = delete;

 private:
  bool all_ = false;
  std::vector<const void*> opened_;
};

/// Memory that ends right before a page that must not be touched; for shared memory.
class GuardedBlock {
 public:
  /// 16 bytes are what kernels rely on in device memory. Less than the runtime promises, so that
  /// nothing hides between the end of an allocation and its guard.
  explicit GuardedBlock(std::size_t bytes, std::size_t alignment = 16);
  ~GuardedBlock();
  GuardedBlock(GuardedBlock&&) noexcept;
  GuardedBlock& operator=(GuardedBlock&&) noexcept;

  /// Sets all bits, as when it was made.
  void fill() const;

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  bool is_around(const void* address) const;

 private:
  void* pages_ = nullptr;
  std::size_t mapped_ = 0;
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace ssmax::simt
