#include "device/tensor.h"

#include "base/checked.h"
#include "base/errors.h"

namespace ssmax::device {

Shape::Shape(std::initializer_list<std::int64_t> extents)
    : Shape(std::span<const std::int64_t>(extents.begin(), extents.size())) {}

Shape::Shape(std::span<const std::int64_t> extents) : rank_(static_cast<int>(extents.size())) {
  if (extents.size() > kMaxRank) {
    throw base::Error(base::ErrorKind::usage,
                      "a tensor has at most 4 axes, found " + std::to_string(extents.size()));
  }
  std::int64_t product = 1;
  for (std::size_t axis = 0; axis < extents.size(); ++axis) {
    product = base::checked_product(product, extents[axis]);
    extents_[axis] = extents[axis];
  }
}

std::int64_t Shape::elements() const {
  std::int64_t product = 1;
  for (const std::int64_t extent : extents()) product *= extent;
  return product;
}

std::string Shape::text() const {
  std::string result = "(";
  for (int axis = 0; axis < rank_; ++axis) {
    result += (axis > 0 ? ", " : "") + std::to_string((*this)[axis]);
  }
  return result + ")";
}

namespace {

Shape with_first_extent(const Shape& shape, std::int64_t count) {
  std::array<std::int64_t, Shape::kMaxRank> extents{};
  for (int axis = 0; axis < shape.rank(); ++axis)
    extents[static_cast<std::size_t>(axis)] = shape[axis];
  extents[0] = count;
  return Shape(
      std::span<const std::int64_t>(extents.data(), static_cast<std::size_t>(shape.rank())));
}

/// A planning arena gives views without memory, and a null pointer has no offsets.
char* row_start(void* data, const Shape& shape, DType dtype, std::int64_t begin) {
  if (data == nullptr) return nullptr;
  const std::int64_t row = shape[0] == 0 ? 0 : shape.elements() / shape[0];
  return static_cast<char*>(data) + begin * row * size_of(dtype);
}

}  // namespace

ConstTensor ConstTensor::rows(std::int64_t begin, std::int64_t count) const {
  assert(begin >= 0 && count >= 0 && begin + count <= shape_[0]);
  return {row_start(data_, shape_, dtype_, begin), dtype_, with_first_extent(shape_, count),
          device_};
}

ConstTensor ConstTensor::reshaped(const Shape& shape) const {
  assert(shape.elements() == elements());
  return {data_, dtype_, shape, device_};
}

Tensor Tensor::rows(std::int64_t begin, std::int64_t count) const {
  assert(begin >= 0 && count >= 0 && begin + count <= shape_[0]);
  return {row_start(data_, shape_, dtype_, begin), dtype_, with_first_extent(shape_, count),
          device_};
}

Tensor Tensor::reshaped(const Shape& shape) const {
  assert(shape.elements() == elements());
  return {data_, dtype_, shape, device_};
}

}  // namespace ssmax::device
