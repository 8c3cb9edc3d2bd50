#include "kernels/layer_norm/layer_norm.h"

#include "kernels/layer_norm/layer_norm_launch.h"

namespace ssmax::kernels {

namespace {

void check(const ConstTensor& y, const LayerNormSaved& saved, const ConstTensor& x,
           const ConstTensor& weight) {
  require_floating(x, "layer_norm: x");
  require_matrix(y, row_count(x), row_size(x), x.dtype(), "layer_norm: y");
  require_vector(weight, row_size(x), x.dtype(), "layer_norm: weight");
  require(saved.mean.elements() == row_count(x) && saved.rstd.elements() == row_count(x),
          "layer_norm: mean and rstd must have one value for every row");
  require_dtype(saved.mean, device::accumulator_dtype(x.dtype()), "layer_norm: mean");
  require_dtype(saved.rstd, device::accumulator_dtype(x.dtype()), "layer_norm: rstd");
}

void check_bias(const ConstTensor& bias, const ConstTensor& x) {
  if (!bias.empty()) require_vector(bias, row_size(x), x.dtype(), "layer_norm: bias");
}

}  // namespace

void layer_norm(Stream& stream, const Tensor& y, const LayerNormSaved& saved, const ConstTensor& x,
                const ConstTensor& weight, const ConstTensor& bias, double eps) {
  check(y, saved, x, weight);
  check_bias(bias, x);
  launch<cpu::layer_norm, cuda::layer_norm>(stream, y, saved, x, weight, bias, eps);
}

void add_layer_norm(Stream& stream, const Tensor& sum, const Tensor& y, const LayerNormSaved& saved,
                    const ConstTensor& x, const ConstTensor& delta, const ConstTensor& weight,
                    const ConstTensor& bias, double eps) {
  check(y, saved, x, weight);
  check_bias(bias, x);
  require_matrix(sum, row_count(x), row_size(x), x.dtype(), "add_layer_norm: sum");
  require_matrix(delta, row_count(x), row_size(x), x.dtype(), "add_layer_norm: delta");
  launch<cpu::add_layer_norm, cuda::add_layer_norm>(stream, sum, y, saved, x, delta, weight, bias,
                                                    eps);
}

void layer_norm_backward(Stream& stream, const Tensor& dx, const Tensor& dweight,
                         const Tensor& dbias, const ConstTensor& dy, const ConstTensor& x,
                         const ConstTensor& weight, const LayerNormSaved& saved, Write write) {
  check(dy, saved, x, weight);
  const DType statistics = device::accumulator_dtype(x.dtype());
  require_matrix(dx, row_count(x), row_size(x), x.dtype(), "layer_norm_backward: dx");
  require_vector(dweight, row_size(x), statistics, "layer_norm_backward: dweight");
  if (!dbias.empty()) {
    require_vector(dbias, row_size(x), statistics, "layer_norm_backward: dbias");
  }
  launch<cpu::layer_norm_backward, cuda::layer_norm_backward>(stream, dx, dweight, dbias, dy, x,
                                                              weight, saved, write);
}

}  // namespace ssmax::kernels
