#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "device/tensor.h"

namespace ssmax::device {

/// Bytes that one label holds, in order of first use.
struct Allocation {
  std::string label;
  std::int64_t bytes = 0;
};

enum class ArenaMode : std::uint8_t {
  allocate,
  plan,  ///< counts bytes and returns views without memory: the memory table of a dry run
};

/// Owns device memory; every allocation has a label. Freed all at once. Zero-filled.
class Arena {
 public:
  /// Error(device) when the device cannot be used, with the reason.
  explicit Arena(Device device = {}, ArenaMode mode = ArenaMode::allocate);
  ~Arena();
  Arena(Arena&&) noexcept;
  Arena& operator=(Arena&&) noexcept;

  /// Errors: ErrorKind::device when memory is short, with the label and the bytes asked for.
  Tensor allocate(std::string_view label, DType dtype, const Shape& shape);

  Device device() const { return device_; }
  bool planning() const { return mode_ == ArenaMode::plan; }
  std::int64_t bytes() const;
  const std::vector<Allocation>& report() const { return report_; }

 private:
  struct Block {
    void* data;
    std::int64_t bytes;
  };

  Device device_;
  ArenaMode mode_;
  std::vector<Block> blocks_;
  std::vector<Allocation> report_;
};

/// Memory a process could still take on `device`, bytes.
std::int64_t available_bytes(Device device);

}  // namespace ssmax::device
