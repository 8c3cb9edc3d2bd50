#pragma once

#include <cstdint>

#include "device/cuda_backend.h"
#include "device/launch.h"

namespace ssmax::device {

/// A named stretch of the host's work, until the end of the scope, in the timeline of NVIDIA's
/// profilers. Nothing in a program without the CUDA backend; a check of a pointer when no profiler
/// is attached.
class Range {
 public:
  static constexpr std::int64_t kNoNumber = -1;

  explicit Range(const char* name, std::int64_t number = kNoNumber)
      : begun_(is_linked<cuda::begin_range>()) {
    if (begun_) cuda::begin_range(name, number);
  }
  ~Range() {
    if (begun_) cuda::end_range();
  }
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

 private:
  bool begun_;
};

}  // namespace ssmax::device
