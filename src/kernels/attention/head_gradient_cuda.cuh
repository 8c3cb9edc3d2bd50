#pragma once

#include "kernels/attention/attention.h"
#include "kernels/attention/head_sums_cuda.cuh"

/// The gradient of a weighting's head parameter from what the backward keeps of every row.
namespace ssmax::kernels::cuda {

inline HeadRows head_rows(const AttentionInputs& inputs) {
  return {static_cast<int>(inputs.q.batch), static_cast<int>(inputs.q.heads),
          static_cast<int>(inputs.q.time)};
}

/// A row's part of the gradient of its head's parameter; D of row r is at d[r * d_stride].
template <HeadWeighting W>
struct HeadGradient {
  const float* parameter;
  const float* saved;
  const float* d;
  std::int64_t d_stride;
  W weighting;

  __device__ double operator()(int /*b*/, int h, int /*t*/, std::int64_t row) const {
    const auto known = weighting.load(saved + row * W::kRowValues, 1);
    return weighting.head_gradient(known, d[row * d_stride], parameter[h]);
  }
};

template <Weighting W>
void add_head_gradient(Stream& stream, const Tensor& gradient, const ConstTensor& parameter,
                       const AttentionSaved& saved, const AttentionInputs& inputs, const float* d,
                       std::int64_t d_stride, float* partials, const W& weighting) {
  if constexpr (HeadWeighting<W>) {
    if (gradient.empty()) return;
    add_head_sums(stream, gradient.data<float>(),
                  HeadGradient<W>{parameter.data<float>(), saved.rows.template data<float>(), d,
                                  d_stride, weighting},
                  head_rows(inputs), partials);
  }
}

}  // namespace ssmax::kernels::cuda
