#pragma once

#include "kernels/linear/gelu_fusion.h"
#include "kernels/op.h"

namespace ssmax::kernels {

// M rows, K inputs, N outputs. Activations f32, bf16 or f64; sums in f32 (f64 for f64)
// whose order is fixed for a shape, a processor and a number of threads.

/// y (M, N) = or += x (M, K) weight (N, K)^T + bias (N) (may be empty). All of one dtype.
void linear(Stream& stream, const Tensor& y, const ConstTensor& x, const ConstTensor& weight,
            const ConstTensor& bias, Write write = Write::overwrite);

/// dx (M, K) = or += dy (M, N) weight (N, K). All of one dtype.
void linear_input_gradient(Stream& stream, const Tensor& dx, const ConstTensor& dy,
                           const ConstTensor& weight, Write write = Write::overwrite);

/// dweight (N, K) += dy (M, N)^T x (M, K); dbias (N) += column sums of dy (may be empty).
/// Gradients are f32 (f64 for f64) and are always added to.
void linear_weight_gradient(Stream& stream, const Tensor& dweight, const Tensor& dbias,
                            const ConstTensor& dy, const ConstTensor& x);

/// y (M, N) = gelu(preactivation), preactivation (M, N) = x (M, K) weight (N, K)^T + bias (N) (may
/// be empty). All of one dtype. Fused, gelu is taken before the preactivation is rounded.
GeluForm linear_gelu(Stream& stream, const Tensor& y, const Tensor& preactivation,
                     const ConstTensor& x, const ConstTensor& weight, const ConstTensor& bias);

/// Through a layer whose input is gelu(preactivation): dx (M, K) = (dy (M, N) weight (N, K))
/// gelu'(preactivation (M, K)). All of one dtype. Fused, the product in parentheses is not rounded.
GeluForm gelu_linear_input_gradient(Stream& stream, const Tensor& dx, const ConstTensor& dy,
                                    const ConstTensor& weight, const ConstTensor& preactivation);

/// Memory that the products of such a layer take at most while they run: on a CPU f32 copies where
/// the processor has no bf16 products, else 0; on a GPU of the stream's workspace. `biases` is N,
/// or 0 for a layer without a bias.
std::int64_t linear_workspace_bytes(device::Device device, std::int64_t M, std::int64_t K,
                                    std::int64_t N, std::int64_t biases, DType dtype);

}  // namespace ssmax::kernels
