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

// A matrix (M, C) of a contract may have more than two axes: C is the last, M the product of the
// others.
std::int64_t row_size(const ConstTensor& tensor);
std::int64_t row_count(const ConstTensor& tensor);

/// Throws ErrorKind::usage unless `condition`; `what` says op and expectation. For checks of public
/// calls.
void require(bool condition, const char* what);
/// `what` names op and tensor; the message adds the shape or dtype expected and found.
void require_shape(const ConstTensor& tensor, const Shape& expected, const char* what);
void require_dtype(const ConstTensor& tensor, DType expected, const char* what);
/// f32, bf16 or f64.
void require_floating(const ConstTensor& tensor, const char* what);
/// (M, C) as above.
void require_matrix(const ConstTensor& tensor, std::int64_t rows, std::int64_t row, DType dtype,
                    const char* what);
/// One axis of `elements`.
void require_vector(const ConstTensor& tensor, std::int64_t elements, DType dtype,
                    const char* what);

}  // namespace ssmax::kernels
