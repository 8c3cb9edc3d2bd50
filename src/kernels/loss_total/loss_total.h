#pragma once

#include "kernels/op.h"

namespace ssmax::kernels {

/// total (2) f64 += {sum of losses, number of targets that count}. losses (M) f32 or f64, targets
/// (M) i32; ignored targets have loss 0. Summed in double in a fixed order.
void add_loss_total(Stream& stream, const Tensor& total, const ConstTensor& losses,
                    const ConstTensor& targets);

}  // namespace ssmax::kernels
