#pragma once

#include "kernels/rope/rope.h"

namespace ssmax::kernels {

namespace cpu {
void rope_table(Stream& stream, const Tensor& table, double theta);
void rope(Stream& stream, const Tensor& x, const ConstTensor& table, std::int64_t heads,
          std::int64_t first_position, Turn turn);
}  // namespace cpu

namespace cuda {
[[gnu::weak]] void rope_table(Stream& stream, const Tensor& table, double theta);
[[gnu::weak]] void rope(Stream& stream, const Tensor& x, const ConstTensor& table,
                        std::int64_t heads, std::int64_t first_position, Turn turn);
}  // namespace cuda

}  // namespace ssmax::kernels
