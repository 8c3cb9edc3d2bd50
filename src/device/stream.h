#pragma once

#include <memory>

#include "device/tensor.h"

namespace ssmax::device {

namespace cuda {
struct Queue;
}

/// Of kernels that are ready at the same time, a GPU starts those of high priority first.
enum class Priority : std::uint8_t { usual, high };

/// An ordered queue of work on one device; the first argument of every op. On the CPU work is done
/// when the call returns.
class Stream {
 public:
  /// Error(device) when the device cannot be used, with the reason.
  explicit Stream(Device device = {}, Priority priority = Priority::usual);

  Device device() const { return device_; }
  /// Waits until everything queued so far is done. Error(device) when some of it failed.
  void synchronize();

  /// What the CUDA backend queues into; null on the CPU.
  cuda::Queue* queue() const { return queue_.get(); }

 private:
  Device device_;
  std::unique_ptr<cuda::Queue, void (*)(cuda::Queue*)> queue_;
};

/// Copies elements; same dtype and element count, devices may differ; at most one GPU. The source
/// may be reused and a destination on the CPU may be read when the call returns.
void copy(Stream& stream, const Tensor& destination, const ConstTensor& source);
void fill_zero(Stream& stream, const Tensor& destination);

/// Rows within a larger tensor: row r begins at element start + r * stride.
template <class View>
struct RowsWithin {
  View storage;
  std::int64_t start = 0;
  std::int64_t stride = 0;
};

/// Copies `count` rows of `width` elements; both on the stream's device.
void copy_rows(Stream& stream, const RowsWithin<Tensor>& destination,
               const RowsWithin<ConstTensor>& source, std::int64_t count, std::int64_t width);

}  // namespace ssmax::device
