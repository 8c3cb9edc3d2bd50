#include "kernels/column_sums_cuda.cuh"
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

}  // namespace

// Row-major matrices are handed over as their transposes: y^T (N, M) = weight x^T.
void linear(Stream& stream, const Tensor& y, const ConstTensor& x, const ConstTensor& weight,
            const ConstTensor& bias, Write write) {
  dispatch(x.dtype(), "linear", [](auto) {});
  require(device::is_aligned(bias.raw()),
          "linear on a GPU: bias must begin at a multiple of 16 bytes");
  multiply(stream,
           {.m = row_size(y),
            .n = row_count(x),
            .k = row_size(x),
            .inputs = x.dtype(),
            .output = y.dtype(),
            .a = Operation::transposed,
            .write = write},
           y.raw(), weight.raw(), x.raw(), bias.empty() ? nullptr : bias.raw());
}

void linear_input_gradient(Stream& stream, const Tensor& dx, const ConstTensor& dy,
                           const ConstTensor& weight, Write write) {
  dispatch(dy.dtype(), "linear_input_gradient", [](auto) {});
  multiply(stream,
           {.m = row_size(dx),
            .n = row_count(dy),
            .k = row_size(dy),
            .inputs = dy.dtype(),
            .output = dx.dtype(),
            .write = write},
           dx.raw(), weight.raw(), dy.raw());
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
