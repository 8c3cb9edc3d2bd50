#include "kernels/rms_norm/rms_norm.h"

#include "kernels/rms_norm/rms_norm_launch.h"

namespace ssmax::kernels {

namespace {

void check(const ConstTensor& y, const ConstTensor& rstd, const ConstTensor& x,
           const ConstTensor& weight) {
  require_floating(x, "rms_norm: x");
  require_matrix(y, row_count(x), row_size(x), x.dtype(), "rms_norm: y");
  require_vector(weight, row_size(x), x.dtype(), "rms_norm: weight");
  require(rstd.elements() == row_count(x), "rms_norm: rstd must have one value for every row");
  require_dtype(rstd, device::accumulator_dtype(x.dtype()), "rms_norm: rstd");
}

}  // namespace

void rms_norm(Stream& stream, const Tensor& y, const Tensor& rstd, const ConstTensor& x,
              const ConstTensor& weight, double eps) {
  check(y, rstd, x, weight);
  launch<cpu::rms_norm, cuda::rms_norm>(stream, y, rstd, x, weight, eps);
}

void add_rms_norm(Stream& stream, const Tensor& sum, const Tensor& y, const Tensor& rstd,
                  const ConstTensor& x, const ConstTensor& delta, const ConstTensor& weight,
                  double eps) {
  check(y, rstd, x, weight);
  require_matrix(sum, row_count(x), row_size(x), x.dtype(), "add_rms_norm: sum");
  require_matrix(delta, row_count(x), row_size(x), x.dtype(), "add_rms_norm: delta");
  launch<cpu::add_rms_norm, cuda::add_rms_norm>(stream, sum, y, rstd, x, delta, weight, eps);
}

void rms_norm_backward(Stream& stream, const Tensor& dx, const Tensor& dweight,
                       const ConstTensor& dy, const ConstTensor& x, const ConstTensor& weight,
                       const ConstTensor& rstd, Write write) {
  check(dy, rstd, x, weight);
  require_matrix(dx, row_count(x), row_size(x), x.dtype(), "rms_norm_backward: dx");
  require_vector(dweight, row_size(x), device::accumulator_dtype(x.dtype()),
                 "rms_norm_backward: dweight");
  launch<cpu::rms_norm_backward, cuda::rms_norm_backward>(stream, dx, dweight, dy, x, weight, rstd,
                                                          write);
}

}  // namespace ssmax::kernels
