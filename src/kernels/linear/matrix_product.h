#pragma once

#include <cstdint>

#include "kernels/op.h"

namespace ssmax::kernels::cpu {

/// A matrix in memory; transposed: element (i, j) lies at j * rows + i instead of i * columns + j.
enum class Layout : std::uint8_t { row_major, transposed };

/// C (m, n) = or += A (m, k) B (k, n) + bias (n) on the processor's matrix units, sums in f32.
struct MatrixProduct {
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
  DType inputs = DType::f32;  // of A and B: f32 or bf16
  DType output = DType::f32;  // of C and bias: that of the inputs, or f32
  Layout a_layout = Layout::row_major;
  Layout b_layout = Layout::row_major;
  Write write = Write::overwrite;
  bool has_bias = false;

  bool operator==(const MatrixProduct&) const = default;
};

/// bias may be null without has_bias. bf16 inputs are multiplied as bf16 where the processor can
/// and as f32 elsewhere. Uses the thread's workspace.
void multiply(const MatrixProduct& product, void* c, const void* a, const void* b,
              const void* bias = nullptr);

/// Whether it can; asked once.
bool processor_multiplies_bf16();

}  // namespace ssmax::kernels::cpu
