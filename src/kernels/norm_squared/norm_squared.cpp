#include "kernels/norm_squared/norm_squared.h"

#include "kernels/norm_squared/norm_squared_launch.h"

namespace ssmax::kernels {

void norm_squared(Stream& stream, const Tensor& out, const ConstTensor& x) {
  require_vector(out, 1, DType::f64, "norm_squared: out");
  require(x.dtype() == DType::f32 || x.dtype() == DType::f64, "norm_squared: x must be f32 or f64");
  launch<cpu::norm_squared, cuda::norm_squared>(stream, out, x);
}

void clip_scale(Stream& stream, const Tensor& gradient_scale, const ConstTensor& norm_squared,
                double max_norm) {
  require_vector(norm_squared, 1, DType::f64, "clip_scale: norm_squared");
  require(gradient_scale.dtype() == DType::f32 || gradient_scale.dtype() == DType::f64,
          "clip_scale: gradient_scale must be f32 or f64");
  require_shape(gradient_scale, {1}, "clip_scale: gradient_scale");
  require(max_norm >= 0.0, "clip_scale: max_norm must not be negative");
  launch<cpu::clip_scale, cuda::clip_scale>(stream, gradient_scale, norm_squared, max_norm);
}

}  // namespace ssmax::kernels
