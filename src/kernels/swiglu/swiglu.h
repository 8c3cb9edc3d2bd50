#pragma once

#include "kernels/op.h"

namespace ssmax::kernels {

// M rows, F features. Shazeer, "GLU Variants Improve Transformer", 2020.

/// out (M, F) = silu(gate) up with gate_up (M, 2 F) = [gate | up] in each row.
void swiglu(Stream& stream, const Tensor& out, const ConstTensor& gate_up);

/// dgate_up (M, 2 F) from dout (M, F); overwrites; may alias gate_up.
void swiglu_backward(Stream& stream, const Tensor& dgate_up, const ConstTensor& dout,
                     const ConstTensor& gate_up);

}  // namespace ssmax::kernels
