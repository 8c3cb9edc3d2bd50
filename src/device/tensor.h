#pragma once

#include <array>
#include <cassert>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "device/dtype.h"

namespace ssmax::device {

enum class DeviceKind : std::uint8_t { cpu, cuda };

/// Where data lives and work runs.
struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;

  bool operator==(const Device&) const = default;
};

/// Up to four extents, row-major, contiguous.
class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents);
  explicit Shape(std::span<const std::int64_t> extents);

  int rank() const { return rank_; }
  std::int64_t operator[](int axis) const { return extents_[static_cast<std::size_t>(axis)]; }
  std::int64_t elements() const;
  std::span<const std::int64_t> extents() const {
    return {extents_.data(), static_cast<std::size_t>(rank_)};
  }
  std::string text() const;  ///< "(2, 3)"

  bool operator==(const Shape&) const = default;

 private:
  std::array<std::int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

/// A read-only view of contiguous elements; never owns.
class ConstTensor {
 public:
  ConstTensor() = default;
  ConstTensor(const void* data, DType dtype, const Shape& shape, Device device = {})
      : data_(const_cast<void*>(data)), shape_(shape), dtype_(dtype), device_(device) {}

  bool empty() const { return shape_.rank() == 0; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::int64_t extent(int axis) const { return shape_[axis]; }
  std::int64_t elements() const { return empty() ? 0 : shape_.elements(); }
  std::int64_t bytes() const { return elements() * size_of(dtype_); }
  Device device() const { return device_; }

  const void* raw() const { return data_; }
  template <class T>
  const T* data() const {
    assert(dtype_ == kDTypeOf<T>);
    return static_cast<const T*>(data_);
  }

  /// Rows [begin, begin + count) of the first axis.
  ConstTensor rows(std::int64_t begin, std::int64_t count) const;
  ConstTensor reshaped(const Shape& shape) const;

 protected:
  void* data_ = nullptr;
  Shape shape_;
  DType dtype_ = DType::f32;
  Device device_;
};

/// A writable view of contiguous elements; never owns.
class Tensor : public ConstTensor {
 public:
  Tensor() = default;
  Tensor(void* data, DType dtype, const Shape& shape, Device device = {})
      : ConstTensor(data, dtype, shape, device) {}

  void* raw() const { return data_; }
  template <class T>
  T* data() const {
    assert(dtype_ == kDTypeOf<T>);
    return static_cast<T*>(data_);
  }

  Tensor rows(std::int64_t begin, std::int64_t count) const;
  Tensor reshaped(const Shape& shape) const;
};

/// A view of a plain array on the CPU, for tests and host-side code.
template <class T>
Tensor view(T* data, const Shape& shape) {
  return {data, kDTypeOf<T>, shape};
}
template <class T>
ConstTensor view(const T* data, const Shape& shape) {
  return {data, kDTypeOf<T>, shape};
}

}  // namespace ssmax::device
