#pragma once

#include "kernels/attention/normalizer.h"
#include "kernels/attention/weighting.h"

/// Attention for one weighting. Shapes, aliasing and what is overwritten: AttentionNormalizer in
/// normalizer.h. Formulas: x_ij = c_i q_i.k_j / sqrt(D) - slope_h (i - j), O_i = sum_j y_ij v_j,
/// and
///   dq'_i = sum_j dx_ij k_j / sqrt(D),  dq_i = c_i dq'_i,  dc_i = q_i.dq'_i,
///   dk_j = sum_i c_i dx_ij q_i / sqrt(D),  dv_j = sum_i y_ij dO_i.
/// c is applied to scores in fp32 and never multiplied into the queries.
namespace ssmax::kernels {

namespace cpu {

/// `head_parameter` (H), or empty: the weighting's constant.
template <Weighting W>
void attention_forward(Stream& stream, const HeadsView& out, const AttentionSaved& saved,
                       const AttentionInputs& inputs, const ConstTensor& head_parameter,
                       const W& weighting);
/// `head_gradient` (H) +=, or empty.
template <Weighting W>
void attention_backward(Stream& stream, const AttentionGradients& gradients,
                        const Tensor& head_gradient, const ConstHeadsView& dout,
                        const ConstHeadsView& out, const AttentionSaved& saved,
                        const AttentionInputs& inputs, const ConstTensor& head_parameter,
                        const W& weighting);
/// weights (B, H, T, S) = the weight of every key, 0 where it is not visible.
template <Weighting W>
void attention_weights(Stream& stream, const Tensor& weights, const AttentionInputs& inputs,
                       const ConstTensor& head_parameter, const W& weighting);

}  // namespace cpu

namespace cuda {

template <Weighting W>
[[gnu::weak]] void attention_forward(Stream& stream, const HeadsView& out,
                                     const AttentionSaved& saved, const AttentionInputs& inputs,
                                     const ConstTensor& head_parameter, const W& weighting);
template <Weighting W>
[[gnu::weak]] void attention_backward(Stream& stream, const AttentionGradients& gradients,
                                      const Tensor& head_gradient, const ConstHeadsView& dout,
                                      const ConstHeadsView& out, const AttentionSaved& saved,
                                      const AttentionInputs& inputs,
                                      const ConstTensor& head_parameter, const W& weighting);
template <Weighting W>
[[gnu::weak]] void attention_weights(Stream& stream, const Tensor& weights,
                                     const AttentionInputs& inputs,
                                     const ConstTensor& head_parameter, const W& weighting);
/// Of the stream's workspace.
template <Weighting W>
[[gnu::weak]] std::int64_t attention_workspace_bytes(const AttentionInputs& inputs,
                                                     AttentionPass pass);

}  // namespace cuda

/// Throws Error(usage) unless shapes, dtypes and visible keys fit together; first_key in the memory
/// of a GPU is taken on trust.
void check_attention_inputs(const AttentionInputs& inputs);
void check_attention_view(const ConstHeadsView& view, const ConstHeadsView& like, const char* what);
void check_attention_view(const HeadsView& view, const ConstHeadsView& like, const char* what);
void check_attention_rows(const ConstTensor& rows, const AttentionInputs& inputs,
                          std::int64_t row_values, const char* what);

/// Scratch bytes of one thread in the CPU's backward at `keys` keys, the most that any call takes.
std::int64_t attention_workspace_bytes(std::int64_t keys, std::int64_t head_size);

/// First visible key of query t in sequence b.
inline std::int64_t first_visible(const ConstTensor& first_key, std::int64_t b, std::int64_t t) {
  return first_key.empty() ? 0 : first_key.data<std::int32_t>()[b * first_key.extent(1) + t];
}

}  // namespace ssmax::kernels
