#pragma once

#include "device/launch.h"
#include "device/tensor.h"

namespace ssmax::kernels {

using device::ConstTensor;
using device::DType;
using device::launch;
using device::Shape;
using device::Stream;
using device::Tensor;

/// Whether an output is overwritten or added to.
enum class Write : unsigned char { overwrite, add };

/// Throws unless `condition`; `what` says op, expectation and finding. For checks of public calls.
void require(bool condition, const char* what);
void require_shape(const ConstTensor& tensor, const Shape& expected, const char* what);
void require_dtype(const ConstTensor& tensor, DType expected, const char* what);

}  // namespace ssmax::kernels
