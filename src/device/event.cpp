#include "device/event.h"

#include "device/cuda_backend.h"

namespace ssmax::device {

Event::Event(Device device)
    : point_(device.kind == DeviceKind::cpu ? nullptr : cuda::create_point(device.index),
             cuda::destroy_point) {}

void Event::record(Stream& stream) {
  if (point_ != nullptr) cuda::record(*point_, stream.queue());
}

void Event::wait() const {
  if (point_ != nullptr) cuda::wait(*point_);
}

bool Event::reached() const { return point_ == nullptr || cuda::reached(*point_); }

}  // namespace ssmax::device
