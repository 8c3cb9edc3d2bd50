#include "kernels/linear/linear.h"

#include <algorithm>

#include "kernels/linear/linear_launch.h"
#include "kernels/linear/matrix_product.h"

namespace ssmax::kernels {

namespace {

/// Two axes, (N, K), of `dtype`.
void check_weight(const ConstTensor& weight, DType dtype, const char* what) {
  require_dtype(weight, dtype, what);
  require(weight.shape().rank() == 2, "linear: weight must be (N, K)");
}

void check_linear(const Tensor& y, const ConstTensor& x, const ConstTensor& weight,
                  const ConstTensor& bias) {
  require_floating(x, "linear: x");
  check_weight(weight, x.dtype(), "linear: weight");
  require_matrix(x, row_count(x), weight.extent(1), x.dtype(), "linear: x");
  require_matrix(y, row_count(x), weight.extent(0), x.dtype(), "linear: y");
  if (!bias.empty()) require_vector(bias, weight.extent(0), x.dtype(), "linear: bias");
}

void check_input_gradient(const Tensor& dx, const ConstTensor& dy, const ConstTensor& weight) {
  require_floating(dy, "linear_input_gradient: dy");
  check_weight(weight, dy.dtype(), "linear_input_gradient: weight");
  require_matrix(dy, row_count(dy), weight.extent(0), dy.dtype(), "linear_input_gradient: dy");
  require_matrix(dx, row_count(dy), weight.extent(1), dy.dtype(), "linear_input_gradient: dx");
}

}  // namespace

void linear(Stream& stream, const Tensor& y, const ConstTensor& x, const ConstTensor& weight,
            const ConstTensor& bias, Write write) {
  check_linear(y, x, weight, bias);
  launch<cpu::linear, cuda::linear>(stream, y, x, weight, bias, write);
}

void linear_input_gradient(Stream& stream, const Tensor& dx, const ConstTensor& dy,
                           const ConstTensor& weight, Write write) {
  check_input_gradient(dx, dy, weight);
  launch<cpu::linear_input_gradient, cuda::linear_input_gradient>(stream, dx, dy, weight, write);
}

void linear_weight_gradient(Stream& stream, const Tensor& dweight, const Tensor& dbias,
                            const ConstTensor& dy, const ConstTensor& x) {
  require_floating(x, "linear_weight_gradient: x");
  const DType gradients = device::accumulator_dtype(x.dtype());
  check_weight(dweight, gradients, "linear_weight_gradient: dweight");
  require_matrix(x, row_count(x), dweight.extent(1), x.dtype(), "linear_weight_gradient: x");
  require_matrix(dy, row_count(x), dweight.extent(0), x.dtype(), "linear_weight_gradient: dy");
  if (!dbias.empty()) {
    require_vector(dbias, dweight.extent(0), gradients, "linear_weight_gradient: dbias");
  }
  launch<cpu::linear_weight_gradient, cuda::linear_weight_gradient>(stream, dweight, dbias, dy, x);
}

GeluForm linear_gelu(Stream& stream, const Tensor& y, const Tensor& preactivation,
                     const ConstTensor& x, const ConstTensor& weight, const ConstTensor& bias) {
  check_linear(preactivation, x, weight, bias);
  require_matrix(y, row_count(x), weight.extent(0), x.dtype(), "linear_gelu: y");
  return launch<cpu::linear_gelu, cuda::linear_gelu>(stream, y, preactivation, x, weight, bias);
}

GeluForm gelu_linear_input_gradient(Stream& stream, const Tensor& dx, const ConstTensor& dy,
                                    const ConstTensor& weight, const ConstTensor& preactivation) {
  check_input_gradient(dx, dy, weight);
  require_matrix(preactivation, row_count(dy), weight.extent(1), dy.dtype(),
                 "gelu_linear_input_gradient: preactivation");
  return launch<cpu::gelu_linear_input_gradient, cuda::gelu_linear_input_gradient>(
      stream, dx, dy, weight, preactivation);
}

std::int64_t linear_workspace_bytes(device::Device device, std::int64_t M, std::int64_t K,
                                    std::int64_t N, std::int64_t biases, DType dtype) {
  if (device.kind == device::DeviceKind::cuda) {
    if (!device::is_linked<cuda::linear_workspace_bytes>()) device::refuse_cuda();
    return cuda::linear_workspace_bytes(M, biases);
  }
  if (dtype != DType::bf16 || cpu::processor_multiplies_bf16()) return 0;
  return (M * K + K * N + M * N + std::max(K, N)) * static_cast<std::int64_t>(sizeof(float));
}

}  // namespace ssmax::kernels
