#pragma once

#include <memory>

#include "device/stream.h"

namespace ssmax::device {

namespace cuda {
struct Point;
}

/// A point in the work of a stream that a thread can wait for. On the CPU work is done when it is
/// queued, so that the point is always reached.
class Event {
 public:
  /// Reached until it is recorded.
  explicit Event(Device device);

  /// From now on it is the point behind everything that `stream`, on the same device, holds so far.
  void record(Stream& stream);
  /// Waits until the stream is there; the processor is free meanwhile. Error(device) when some of
  /// the work failed.
  void wait() const;
  /// Whether the stream is there. Error(device) when some of the work failed.
  bool reached() const;

 private:
  std::unique_ptr<cuda::Point, void (*)(cuda::Point*)> point_;  // null on the CPU
};

}  // namespace ssmax::device
