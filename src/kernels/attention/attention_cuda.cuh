#pragma once

#include "base/errors.h"
#include "kernels/attention/by_rows_cuda.cuh"
#include "kernels/attention/fused_cuda.cuh"

/// The CUDA backend. bf16 activations of head sizes up to 128 run in the fused passes, everything
/// else by rows. Include it where a weighting is instantiated.
namespace ssmax::kernels::cuda {

/// Largest head size.
inline constexpr std::int64_t kMostHeadSize = 256;
/// Fewer queries are a small part of the fused forward's tile: they go by rows, where the keys are
/// split over blocks.
inline constexpr std::int64_t kFewQueries = 16;

inline void check_supported(const AttentionInputs& inputs) {
  require(inputs.q.storage.dtype() != DType::f64,
          "attention on a GPU: expected f32 or bf16, found f64; double runs on the CPU");
  require(inputs.q.head_size <= kMostHeadSize,
          "attention on a GPU: the head size must be at most 256");
}

template <Weighting W>
void attention_forward(Stream& stream, const HeadsView& out, const AttentionSaved& saved,
                       const AttentionInputs& inputs, const ConstTensor& head_parameter,
                       const W& weighting) {
  check_supported(inputs);
  if constexpr (MonoidWeighting<W>) {
    if (inputs.q.time >= kFewQueries &&
        fits_tiles<W>(inputs.q, inputs.k, inputs.v, as_const(out))) {
      fused_forward(stream, out, saved, inputs, head_parameter, weighting);
      return;
    }
  }
  if (inputs.q.storage.dtype() == DType::bf16) {
    row_forward<Bf16>(stream, out, saved, inputs, head_parameter, weighting);
  } else {
    row_forward<float>(stream, out, saved, inputs, head_parameter, weighting);
  }
}

template <Weighting W>
void attention_backward(Stream& stream, const AttentionGradients& gradients,
                        const Tensor& head_gradient, const ConstHeadsView& dout,
                        const ConstHeadsView& out, const AttentionSaved& saved,
                        const AttentionInputs& inputs, const ConstTensor& head_parameter,
                        const W& weighting) {
  check_supported(inputs);
  if constexpr (MonoidWeighting<W>) {
    if (fits_tiles<W>(inputs.q, inputs.k, inputs.v, dout, out, as_const(gradients.dq),
                      as_const(gradients.dk), as_const(gradients.dv))) {
      with_tile_width(inputs.q.head_size, [&](auto width) {
        fused_backward<width>(stream, gradients, head_gradient, dout, out, saved, inputs,
                              head_parameter, weighting, backward_plan<W, width>(inputs));
      });
      return;
    }
  }
  if (inputs.q.storage.dtype() == DType::bf16) {
    row_backward<Bf16>(stream, gradients, head_gradient, dout, saved, inputs, head_parameter,
                       weighting);
  } else {
    row_backward<float>(stream, gradients, head_gradient, dout, saved, inputs, head_parameter,
                        weighting);
  }
}

template <Weighting W>
void attention_weights(Stream& stream, const Tensor& weights, const AttentionInputs& inputs,
                       const ConstTensor& head_parameter, const W& weighting) {
  check_supported(inputs);
  if (inputs.q.storage.dtype() == DType::bf16) {
    row_weights<Bf16>(stream, weights, inputs, head_parameter, weighting);
  } else {
    row_weights<float>(stream, weights, inputs, head_parameter, weighting);
  }
}

template <Weighting W>
std::int64_t attention_workspace_bytes(const AttentionInputs& inputs, AttentionPass pass) {
  if constexpr (MonoidWeighting<W>) {
    // Outputs and gradients lie as their inputs do.
    if (fits_tiles<W>(inputs.q, inputs.k, inputs.v)) {
      if (pass == AttentionPass::backward) {
        return with_tile_width(inputs.q.head_size, [&](auto width) {
          return FusedScratch<W, width>(inputs, backward_plan<W, width>(inputs)).parts.bytes();
        });
      }
      if (inputs.q.time >= kFewQueries) return 0;
    }
  }
  const auto by_rows = [&]<class T>(device::Tag<T>) {
    return RowScratch<T>(RowPlan<T>(inputs, pass, kRowChunkBytes), inputs, pass).parts.bytes();
  };
  return inputs.q.storage.dtype() == DType::bf16 ? by_rows(device::Tag<Bf16>{})
                                                 : by_rows(device::Tag<float>{});
}

/// `template struct AttentionOf<W>;` in a .cu is the CUDA side of a weighting.
template <Weighting W>
struct AttentionOf {
  static constexpr auto kForward = &attention_forward<W>;
  static constexpr auto kBackward = &attention_backward<W>;
  static constexpr auto kWeights = &attention_weights<W>;
  static constexpr auto kWorkspaceBytes = &attention_workspace_bytes<W>;
};

}  // namespace ssmax::kernels::cuda
