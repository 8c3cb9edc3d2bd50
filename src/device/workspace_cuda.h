#pragma once

#include <cstdint>

#include "device/stream.h"

namespace ssmax::device::cuda {

/// Scratch memory of the stream, aligned to 256 bytes, with whatever was in it. Grows to the
/// largest size ever asked for and stays, so that a step allocates nothing after the first. What
/// the next call's kernels write overwrites it: an op takes it once. Error(device) when memory is
/// short.
void* workspace(Stream& stream, std::int64_t bytes);

}  // namespace ssmax::device::cuda
