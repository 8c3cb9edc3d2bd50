#pragma once

#include <vector>

#include "device/stream.h"

namespace ssmax::device {

/// The elements as double, on the host; waits for them. f32, bf16 or f64.
std::vector<double> to_host(Stream& stream, const ConstTensor& source);

}  // namespace ssmax::device
