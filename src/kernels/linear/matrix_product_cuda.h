#pragma once

#include <cstdint>

#include "kernels/op.h"

// Included by files of the CUDA backend only.

namespace ssmax::kernels::cuda {

/// A matrix of cuBLASLt: column-major, column after column `rows` elements apart, as it is or
/// transposed.
enum class Operation : std::uint8_t { plain, transposed };

/// C (m, n) = or += op(A) (m, k) op(B) (k, n) + bias (m) in every column, sums in f32. All
/// column-major and contiguous: a row-major matrix is its own transpose here.
struct MatrixProduct {
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
  DType inputs = DType::f32;  // of A and B: f32 or bf16
  DType output = DType::f32;  // of C and bias
  Operation a = Operation::plain;
  Operation b = Operation::plain;
  Write write = Write::overwrite;
};

/// Bytes of the stream's workspace that a product takes: what the library recommends for its
/// fastest kernels.
inline constexpr std::int64_t kMatrixProductWorkspace = std::int64_t{32} << 20;

/// bias may be null, else it begins at a multiple of 16 bytes: some kernels read it so whatever the
/// library is told (https://github.com/pytorch/pytorch/pull/194497). The fastest algorithm
/// for shape and alignment is asked for once and kept; none of those taken adds in an order that
/// varies. Takes the stream's workspace.
void multiply(Stream& stream, const MatrixProduct& product, void* c, const void* a, const void* b,
              const void* bias = nullptr);

// The same with a GELU in the tanh form, of sums that are not rounded yet, for bf16; another (m, n)
// matrix holds what GELU is taken of. False where the library has no kernel for it, and nothing is
// done then; asked once too.

/// preactivation = op(A) op(B) + bias, C = gelu(preactivation).
bool multiply_with_gelu(Stream& stream, const MatrixProduct& product, void* c, void* preactivation,
                        const void* a, const void* b, const void* bias);
/// C = (op(A) op(B)) gelu'(preactivation).
bool multiply_with_gelu_gradient(Stream& stream, const MatrixProduct& product, void* c,
                                 const void* preactivation, const void* a, const void* b);

}  // namespace ssmax::kernels::cuda
