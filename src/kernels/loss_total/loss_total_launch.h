#pragma once

#include "kernels/op.h"

namespace ssmax::kernels {

namespace cpu {
void add_loss_total(Stream& stream, const Tensor& total, const ConstTensor& losses,
                    const ConstTensor& targets);
}
namespace cuda {
[[gnu::weak]] void add_loss_total(Stream& stream, const Tensor& total, const ConstTensor& losses,
                                  const ConstTensor& targets);
}

}  // namespace ssmax::kernels
