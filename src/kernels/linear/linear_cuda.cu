#include "kernels/column_sums_cuda.cuh"
#include "kernels/linear/gelu_launch.h"
#include "kernels/linear/linear_launch.h"
#include "kernels/linear/matrix_product_cuda.h"

namespace ssmax::kernels::cuda {

namespace {

template <int kCount, class T>
struct Element {
  const T* x;
  std::int64_t width;

  __device__ device::Values<kCount> operator()(std::int64_t row, std::int64_t column) const {
    return device::load_values<kCount>(x + row * width + column);
  }
};

/// A result of one input, or of the one output, to a thread.
template <class T>
struct ThinLinear {
  T* y;
  const T* x;
  const T* weight;
  const T* bias;
  std::int64_t K, N;
  Write write;

  __device__ void operator()(std::int64_t i) const {
    const std::int64_t n = i % N;
    const T* row = x + i / N * K;
    const T* column = weight + n * K;
    device::Values<1> sum = device::load_values<1>(bias + n);
    for (std::int64_t k = 0; k < K; ++k) {
      sum[0] += device::load_values<1>(row + k)[0] * device::load_values<1>(column + k)[0];
    }
    if (write == Write::add) sum[0] += device::load_values<1>(y + i)[0];
    device::store_values<1>(y + i, sum);
  }
};

// Row-major matrices are handed over as their transposes: y^T (N, M) = weight x^T.
MatrixProduct forward_product(const Tensor& y, const ConstTensor& x, Write write) {
  return {.m = row_size(y),
          .n = row_count(x),
          .k = row_size(x),
          .inputs = x.dtype(),
          .output = y.dtype(),
          .a = Operation::transposed,
          .write = write};
}

MatrixProduct input_gradient_product(const Tensor& dx, const ConstTensor& dy, Write write) {
  return {.m = row_size(dx),
          .n = row_count(dy),
          .k = row_size(dy),
          .inputs = dy.dtype(),
          .output = dx.dtype(),
          .write = write};
}

const void* checked_bias(const ConstTensor& bias) {
  require(device::is_aligned(bias.raw()),
          "linear on a GPU: bias must begin at a multiple of 16 bytes");
  return bias.empty() ? nullptr : bias.raw();
}

}  // namespace

void linear(Stream& stream, const Tensor& y, const ConstTensor& x, const ConstTensor& weight,
            const ConstTensor& bias, Write write) {
  dispatch(x.dtype(), "linear", [&]<class T>(device::Tag<T>) {
    const MatrixProduct product = forward_product(y, x, write);
    // The library may have no kernel with a bias for these.
    if (!bias.empty() && (product.k == 1 || product.m == 1)) {
      for_each(stream, y.elements(),
               ThinLinear<T>{y.data<T>(), x.data<T>(), weight.data<T>(), bias.data<T>(), product.k,
                             product.m, write});
      return;
    }
    multiply(stream, product, y.raw(), weight.raw(), x.raw(), checked_bias(bias));
  });
}

void linear_input_gradient(Stream& stream, const Tensor& dx, const ConstTensor& dy,
                           const ConstTensor& weight, Write write) {
  dispatch(dy.dtype(), "linear_input_gradient", [](auto) {});
  multiply(stream, input_gradient_product(dx, dy, write), dx.raw(), weight.raw(), dy.raw());
}

GeluForm linear_gelu(Stream& stream, const Tensor& y, const Tensor& preactivation,
                     const ConstTensor& x, const ConstTensor& weight, const ConstTensor& bias) {
  if (wants_gelu_fusion(stream.device()) &&
      multiply_with_gelu(stream, forward_product(y, x, Write::overwrite), y.raw(),
                         preactivation.raw(), weight.raw(), x.raw(), checked_bias(bias))) {
    return GeluForm::fused;
  }
  cuda::linear(stream, preactivation, x, weight, bias, Write::overwrite);
  cuda::gelu(stream, y, preactivation);
  return GeluForm::separate;
}

GeluForm gelu_linear_input_gradient(Stream& stream, const Tensor& dx, const ConstTensor& dy,
                                    const ConstTensor& weight, const ConstTensor& preactivation) {
  if (wants_gelu_fusion(stream.device()) &&
      multiply_with_gelu_gradient(stream, input_gradient_product(dx, dy, Write::overwrite),
                                  dx.raw(), preactivation.raw(), weight.raw(), dy.raw())) {
    return GeluForm::fused;
  }
  cuda::linear_input_gradient(stream, dx, dy, weight, Write::overwrite);
  cuda::gelu_backward(stream, dx, dx, preactivation);
  return GeluForm::separate;
}

void linear_weight_gradient(Stream& stream, const Tensor& dweight, const Tensor& dbias,
                            const ConstTensor& dy, const ConstTensor& x) {
  const std::int64_t M = row_count(dy);
  const std::int64_t N = row_size(dy);
  dispatch(dy.dtype(), "linear_weight_gradient", [&]<class T>(device::Tag<T>) {
    multiply(stream,
             {.m = row_size(x),
              .n = N,
              .k = M,
              .inputs = dy.dtype(),
              .output = dweight.dtype(),
              .b = Operation::transposed,
              .write = Write::add},
             dweight.raw(), x.raw(), dy.raw());
    if (dbias.empty()) return;
    dispatch_width<device::kPackSize<T>>({dy.raw()}, N, [&](auto width) {
      constexpr int kCount = decltype(width)::value;
      add_column_sums<kCount>(stream, dbias.data<float>(), Element<kCount, T>{dy.data<T>(), N}, M,
                              N);
    });
  });
}

std::int64_t linear_workspace_bytes(std::int64_t M, std::int64_t biases) {
  const std::int64_t bias_gradient =
      ColumnChunks(M).count * biases * static_cast<std::int64_t>(sizeof(float));
  return std::max(kMatrixProductWorkspace, bias_gradient);
}

}  // namespace ssmax::kernels::cuda
