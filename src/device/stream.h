#pragma once

#include "device/tensor.h"

namespace ssmax::device {

/// An ordered queue of work on one device; the first argument of every op. On the CPU work is done
/// when the call returns.
class Stream {
 public:
  explicit Stream(Device device = {}) : device_(device) {}

  Device device() const { return device_; }
  /// Waits until everything queued so far is done.
  void synchronize();

 private:
  Device device_;
};

/// Copies elements; same dtype and element count, devices may differ.
void copy(Stream& stream, const Tensor& destination, const ConstTensor& source);
void fill_zero(Stream& stream, const Tensor& destination);

}  // namespace ssmax::device
