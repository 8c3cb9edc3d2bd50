#include "kernels/op.h"

#include <string>

#include "base/errors.h"

namespace ssmax::kernels {

namespace {

[[noreturn]] void fail(const std::string& message) {
  throw base::Error(base::ErrorKind::usage, message);
}

}  // namespace

std::int64_t row_size(const ConstTensor& tensor) {
  return tensor.empty() ? 0 : tensor.extent(tensor.shape().rank() - 1);
}

std::int64_t row_count(const ConstTensor& tensor) {
  const std::int64_t row = row_size(tensor);
  return row == 0 ? 0 : tensor.elements() / row;
}

void require(bool condition, const char* what) {
  if (!condition) fail(what);
}

void require_shape(const ConstTensor& tensor, const Shape& expected, const char* what) {
  if (tensor.shape() != expected) {
    fail(std::string(what) + ": expected shape " + expected.text() + ", found " +
         tensor.shape().text());
  }
}

void require_dtype(const ConstTensor& tensor, DType expected, const char* what) {
  if (tensor.dtype() != expected) {
    fail(std::string(what) + ": expected " + std::string(device::name_of(expected)) + ", found " +
         std::string(device::name_of(tensor.dtype())));
  }
}

void require_floating(const ConstTensor& tensor, const char* what) {
  if (tensor.dtype() == DType::i32) {
    fail(std::string(what) + ": expected f32, bf16 or f64, found i32");
  }
}

void require_matrix(const ConstTensor& tensor, std::int64_t rows, std::int64_t row, DType dtype,
                    const char* what) {
  require_dtype(tensor, dtype, what);
  if (row_size(tensor) != row || row_count(tensor) != rows) {
    fail(std::string(what) + ": expected " + std::to_string(rows) + " rows of " +
         std::to_string(row) + ", found shape " + tensor.shape().text());
  }
}

void require_vector(const ConstTensor& tensor, std::int64_t elements, DType dtype,
                    const char* what) {
  require_dtype(tensor, dtype, what);
  require_shape(tensor, {elements}, what);
}

}  // namespace ssmax::kernels
