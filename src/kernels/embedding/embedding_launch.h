#pragma once

#include "kernels/embedding/embedding.h"

namespace ssmax::kernels {

namespace cpu {
void embedding(Stream& stream, const Tensor& out, const ConstTensor& tokens,
               const ConstTensor& token_table, const ConstTensor& position_table,
               std::int64_t first_position);
void embedding_backward(Stream& stream, const Tensor& token_gradient,
                        const Tensor& position_gradient, const ConstTensor& tokens,
                        const ConstTensor& dout);
}  // namespace cpu

namespace cuda {
[[gnu::weak]] void embedding(Stream& stream, const Tensor& out, const ConstTensor& tokens,
                             const ConstTensor& token_table, const ConstTensor& position_table,
                             std::int64_t first_position);
[[gnu::weak]] void embedding_backward(Stream& stream, const Tensor& token_gradient,
                                      const Tensor& position_gradient, const ConstTensor& tokens,
                                      const ConstTensor& dout);
}  // namespace cuda

}  // namespace ssmax::kernels
