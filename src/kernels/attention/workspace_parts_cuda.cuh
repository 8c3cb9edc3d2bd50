#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/checked.h"
#include "device/workspace_cuda.h"

namespace ssmax::kernels::cuda {

/// Parts of the stream's workspace, each aligned to 256 bytes.
class WorkspaceParts {
 public:
  template <class T>
  void add(T*& part, std::int64_t count) {
    const std::int64_t at = bytes_;
    bytes_ += base::div_up(count * static_cast<std::int64_t>(sizeof(T)), 256) * 256;
    parts_.push_back([&part, at](char* begin) { part = reinterpret_cast<T*>(begin + at); });
  }
  std::int64_t bytes() const { return bytes_; }
  void take(Stream& stream) {
    auto* begin = static_cast<char*>(device::cuda::workspace(stream, bytes_));
    for (const auto& part : parts_) part(begin);
  }

 private:
  std::int64_t bytes_ = 0;
  std::vector<std::function<void(char*)>> parts_;
};

}  // namespace ssmax::kernels::cuda
