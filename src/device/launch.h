#pragma once

#include <utility>

#include "device/build.h"
#include "device/stream.h"

namespace ssmax::device {

/// Runs an op on the stream's device: launch<cpu::op, cuda::op>(stream, outputs..., inputs...).
/// In a build without CUDA the second name is declared only and its call is never compiled.
template <auto Cpu, auto Cuda, class... Arguments>
decltype(auto) launch(Stream& stream, Arguments&&... arguments) {
  if constexpr (kBuiltWithCuda) {
    if (stream.device().kind == DeviceKind::cuda) {
      return Cuda(stream, std::forward<Arguments>(arguments)...);
    }
  }
  return Cpu(stream, std::forward<Arguments>(arguments)...);
}

}  // namespace ssmax::device
