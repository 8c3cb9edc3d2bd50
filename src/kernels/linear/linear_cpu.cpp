#include "kernels/linear/linear_cpu.h"

#include <algorithm>
#include <type_traits>

#include "kernels/elements.h"
#include "kernels/linear/gelu_launch.h"
#include "kernels/linear/linear_launch.h"
#include "kernels/linear/matrix_product.h"
#include "kernels/rows.h"
#include "kernels/workspace.h"

namespace ssmax::kernels::cpu {

namespace {

/// dbias[n] += sum over m of dy[m][n], in chunks of rows.
template <class T>
void add_column_sums(float* dbias, const T* dy, std::int64_t M, std::int64_t N) {
  const RowChunks chunks(M);
  float* partials = workspace<float>(chunks.count * N);
  device::parallel_for(M, chunks.size, [&](std::int64_t begin, std::int64_t end) {
    float* partial = partials + begin / chunks.size * N;
    std::fill_n(partial, N, 0.0F);
    for (std::int64_t m = begin; m < end; ++m) {
      const T* row = dy + m * N;
#pragma omp simd
      for (std::int64_t n = 0; n < N; ++n) partial[n] += load(row[n]);
    }
  });
  add_partials(dbias, partials, chunks.count, N);
}

}  // namespace

void linear(Stream& /*stream*/, const Tensor& y, const ConstTensor& x, const ConstTensor& weight,
            const ConstTensor& bias, Write write) {
  const std::int64_t M = row_count(x);
  const std::int64_t K = row_size(x);
  const std::int64_t N = row_size(y);
  if (x.dtype() == DType::f64) {
    device::parallel_for(M, rows_per_task(K * N), [&](std::int64_t begin, std::int64_t end) {
      plain::linear(y.data<double>(), x.data<double>(), weight.data<double>(),
                    data_or_null<double>(bias), begin, end, K, N, write);
    });
    return;
  }
  multiply({.m = M,
            .n = N,
            .k = K,
            .inputs = x.dtype(),
            .output = y.dtype(),
            .b_layout = Layout::transposed,
            .write = write,
            .has_bias = !bias.empty()},
           y.raw(), x.raw(), weight.raw(), bias.empty() ? nullptr : bias.raw());
}

void linear_input_gradient(Stream& /*stream*/, const Tensor& dx, const ConstTensor& dy,
                           const ConstTensor& weight, Write write) {
  const std::int64_t M = row_count(dy);
  const std::int64_t K = row_size(dx);
  const std::int64_t N = row_size(dy);
  if (dy.dtype() == DType::f64) {
    device::parallel_for(M, rows_per_task(K * N), [&](std::int64_t begin, std::int64_t end) {
      plain::linear_input_gradient(dx.data<double>(), dy.data<double>(), weight.data<double>(),
                                   begin, end, K, N, write);
    });
    return;
  }
  multiply({.m = M, .n = K, .k = N, .inputs = dy.dtype(), .output = dx.dtype(), .write = write},
           dx.raw(), dy.raw(), weight.raw());
}

void linear_weight_gradient(Stream& /*stream*/, const Tensor& dweight, const Tensor& dbias,
                            const ConstTensor& dy, const ConstTensor& x) {
  const std::int64_t M = row_count(x);
  const std::int64_t K = row_size(x);
  const std::int64_t N = row_size(dy);
  if (x.dtype() == DType::f64) {
    device::parallel_for(N, rows_per_task(K * M), [&](std::int64_t begin, std::int64_t end) {
      plain::linear_weight_gradient(dweight.data<double>(),
                                    dbias.empty() ? nullptr : dbias.data<double>(),
                                    dy.data<double>(), x.data<double>(), begin, end, M, K, N);
    });
    return;
  }
  multiply({.m = N,
            .n = K,
            .k = M,
            .inputs = x.dtype(),
            .output = dweight.dtype(),
            .a_layout = Layout::transposed,
            .write = Write::add},
           dweight.raw(), dy.raw(), x.raw());
  if (dbias.empty()) return;
  if (dy.dtype() == DType::bf16) {
    add_column_sums(dbias.data<float>(), dy.data<device::Bf16>(), M, N);
  } else {
    add_column_sums(dbias.data<float>(), dy.data<float>(), M, N);
  }
}

GeluForm linear_gelu(Stream& stream, const Tensor& y, const Tensor& preactivation,
                     const ConstTensor& x, const ConstTensor& weight, const ConstTensor& bias) {
  cpu::linear(stream, preactivation, x, weight, bias, Write::overwrite);
  cpu::gelu(stream, y, preactivation);
  return GeluForm::separate;
}

GeluForm gelu_linear_input_gradient(Stream& stream, const Tensor& dx, const ConstTensor& dy,
                                    const ConstTensor& weight, const ConstTensor& preactivation) {
  cpu::linear_input_gradient(stream, dx, dy, weight, Write::overwrite);
  cpu::gelu_backward(stream, dx, dx, preactivation);
  return GeluForm::separate;
}

}  // namespace ssmax::kernels::cpu
