#pragma once

#include "kernels/op.h"

namespace ssmax::kernels {

// B batch, T time, H heads, D head size (even). Su et al., "RoFormer", 2021, in the rotate-half
// pairing of Llama: (x_i, x_{i + D/2}) turns by position * theta^(-2 i / D).

/// table (P, D) f32 (f64 for f64): cos in [0, D/2), sin in [D/2, D), angles computed in double.
void rope_table(Stream& stream, const Tensor& table, double theta);

enum class Turn : unsigned char { forward, backward };

/// Rotates the first `heads` heads of x (B, T, heads_in_row, D) in place by position
/// first_position + t; the other heads of the row (values) stay. Backward turns the other way,
/// which is the gradient.
void rope(Stream& stream, const Tensor& x, const ConstTensor& table, std::int64_t heads,
          std::int64_t first_position, Turn turn);

}  // namespace ssmax::kernels
