#pragma once

#include <vector>

#include "device/arena.h"
#include "device/stream.h"
#include "support/test_device.h"

namespace ssmax::testing {

/// Numbers on the device that the tests run on, with a stream of their own.
template <class T>
class DeviceNumbers {
 public:
  explicit DeviceNumbers(const std::vector<T>& values)
      : arena_(test_device()), stream_(test_device()) {
    const device::Shape shape{static_cast<std::int64_t>(values.size())};
    tensor_ = arena_.allocate("numbers", device::kDTypeOf<T>, shape);
    device::copy(stream_, tensor_, device::view(values.data(), shape));
    stream_.synchronize();  // the numbers are there for any stream
  }

  device::Stream& stream() { return stream_; }
  const device::Tensor& tensor() const { return tensor_; }
  std::vector<T> read() {
    std::vector<T> values(static_cast<std::size_t>(tensor_.elements()));
    device::copy(stream_, device::view(values.data(), tensor_.shape()), tensor_);
    return values;
  }

 private:
  device::Arena arena_;
  device::Stream stream_;
  device::Tensor tensor_;
};

}  // namespace ssmax::testing
