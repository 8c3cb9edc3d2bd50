#pragma once

#include <utility>

#include "device/stream.h"

namespace ssmax::device {

/// Whether the program contains `Function`, which must be declared [[gnu::weak]]. The CUDA backend
/// is object files that are linked in addition; everything else is the same in builds with and
/// without.
template <auto Function>
bool is_linked() {
  auto* volatile address = Function;  // volatile: GCC takes functions for never null
  return address != nullptr;
}

/// Error(device): work for a GPU in a program without the CUDA side of that work.
[[noreturn]] void refuse_cuda();

/// Runs an op on the stream's device: launch<cpu::op, cuda::op>(stream, outputs..., inputs...).
/// cuda::op is declared [[gnu::weak]] and defined in the backend.
template <auto Cpu, auto Cuda, class... Arguments>
decltype(auto) launch(Stream& stream, Arguments&&... arguments) {
  if (stream.device().kind == DeviceKind::cuda) {
    if (!is_linked<Cuda>()) refuse_cuda();
    return Cuda(stream, std::forward<Arguments>(arguments)...);
  }
  return Cpu(stream, std::forward<Arguments>(arguments)...);
}

}  // namespace ssmax::device
