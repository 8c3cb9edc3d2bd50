#pragma once

#include "kernels/adamw/adamw.h"

namespace ssmax::kernels {

namespace cpu {
void adamw(Stream& stream, const AdamwArrays& arrays, const ConstTensor& gradient_scale,
           std::span<const AdamwSegment> segments, const AdamwConstants& constants);
}  // namespace cpu

namespace cuda {
[[gnu::weak]] void adamw(Stream& stream, const AdamwArrays& arrays,
                         const ConstTensor& gradient_scale, std::span<const AdamwSegment> segments,
                         const AdamwConstants& constants);
}  // namespace cuda

}  // namespace ssmax::kernels
