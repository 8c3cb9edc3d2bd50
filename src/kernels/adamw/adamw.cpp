#include "kernels/adamw/adamw.h"

#include "kernels/adamw/adamw_launch.h"

namespace ssmax::kernels {

void adamw(Stream& stream, const AdamwArrays& arrays, const ConstTensor& gradient_scale,
           std::span<const AdamwSegment> segments, const AdamwConstants& constants) {
  const DType dtype = arrays.weights.dtype();
  const std::int64_t count = arrays.weights.elements();
  require(dtype == DType::f32 || dtype == DType::f64, "adamw: weights must be f32 or f64");
  require_vector(arrays.weights, count, dtype, "adamw: weights");
  require_vector(arrays.first_moment, count, dtype, "adamw: first_moment");
  require_vector(arrays.second_moment, count, dtype, "adamw: second_moment");
  require_vector(arrays.gradients, count, dtype, "adamw: gradients");
  if (!arrays.compute.empty()) {
    require_vector(arrays.compute, count, DType::bf16, "adamw: compute");
  }
  require_vector(gradient_scale, 1, dtype, "adamw: gradient_scale");
  for (const AdamwSegment& segment : segments) {
    require(0 <= segment.begin && segment.begin <= segment.end && segment.end <= count,
            "adamw: a segment leaves the arrays");
    require(segment.bias_correction1 > 0.0 && segment.bias_correction2 > 0.0,
            "adamw: bias corrections must be positive (steps count from 1)");
  }
  launch<cpu::adamw, cuda::adamw>(stream, arrays, gradient_scale, segments, constants);
}

}  // namespace ssmax::kernels
