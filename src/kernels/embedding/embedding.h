#pragma once

#include "kernels/op.h"

namespace ssmax::kernels {

// B batch, T time, C channels, V vocabulary, P positions of the table.

/// out (B, T, C) = token_table[tokens] (+ position_table[first_position + t] when not empty).
/// tokens (B, T) i32 in [0, V), checked before; token_table (V, C), position_table (P, C) of out's
/// dtype; overwrites.
void embedding(Stream& stream, const Tensor& out, const ConstTensor& tokens,
               const ConstTensor& token_table, const ConstTensor& position_table,
               std::int64_t first_position = 0);

/// token_gradient (V, C) += rows of dout (B, T, C); position_gradient (P, C) += sums over B (may be
/// empty). Gradients are f32 (f64 for f64). Every row adds its tokens in ascending position.
void embedding_backward(Stream& stream, const Tensor& token_gradient,
                        const Tensor& position_gradient, const ConstTensor& tokens,
                        const ConstTensor& dout);

}  // namespace ssmax::kernels
