#pragma once

#include "kernels/cross_entropy/cross_entropy.h"

namespace ssmax::kernels {

namespace cpu {
void cross_entropy(Stream& stream, const Tensor& losses, const ConstTensor& logits,
                   const ConstTensor& targets, std::int64_t vocabulary);
void cross_entropy_with_gradient(Stream& stream, const Tensor& losses, const Tensor& logits,
                                 const ConstTensor& targets, std::int64_t vocabulary, double scale);
}  // namespace cpu

namespace cuda {
[[gnu::weak]] void cross_entropy(Stream& stream, const Tensor& losses, const ConstTensor& logits,
                                 const ConstTensor& targets, std::int64_t vocabulary);
[[gnu::weak]] void cross_entropy_with_gradient(Stream& stream, const Tensor& losses,
                                               const Tensor& logits, const ConstTensor& targets,
                                               std::int64_t vocabulary, double scale);
}  // namespace cuda

}  // namespace ssmax::kernels
