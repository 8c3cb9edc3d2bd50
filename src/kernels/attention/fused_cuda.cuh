#pragma once

#include <algorithm>
#include <concepts>
#include <type_traits>

#include "kernels/attention/attention_form.h"
#include "kernels/attention/forward_pass_cuda.cuh"
#include "kernels/attention/head_gradient_cuda.cuh"
#include "kernels/attention/key_pass_cuda.cuh"
#include "kernels/attention/query_pass_cuda.cuh"
#include "kernels/attention/warpgroup_forward_cuda.cuh"
#include "kernels/attention/warpgroup_key_pass_cuda.cuh"
#include "kernels/attention/workspace_parts_cuda.cuh"

/// Attention in the fused passes: bf16, head sizes up to 128.
namespace ssmax::kernels::cuda {

template <MonoidWeighting W>
inline constexpr BackwardForm kBestForm =
    std::same_as<W, SoftmaxWeighting> ? BackwardForm::together : BackwardForm::apart;

/// Shared memory of the fused pass that needs the most.
template <MonoidWeighting W, int kHeadSize>
constexpr std::int64_t fused_shared_bytes() {
  return std::max({ForwardPass<W, ForwardShapeOf<W, kHeadSize>>::shared_bytes(),
                   QueryPass<W, QueryPassShapeOf<W, kHeadSize>>::shared_bytes(),
                   KeyPass<W, KeyPassShape<kHeadSize, kBestForm<W>>>::shared_bytes()});
}

/// Of a block, on compute capability 8.0.
inline constexpr std::int64_t kSharedBytesOfAmpere = 163 * 1024;

/// Whether the fused passes take these views; heads of more than 64 need more shared memory than
/// GPUs for desktops have.
template <MonoidWeighting W, class... Views>
bool fits_tiles(const ConstHeadsView& q, const Views&... others) {
  static_assert(fused_shared_bytes<W, 128>() <= kSharedBytesOfAmpere);
  if (q.storage.dtype() != DType::bf16 || q.head_size > 128 || !starts_aligned(q) ||
      !(starts_aligned(others) && ...)) {
    return false;
  }
  return q.head_size <= 64 ||
         fused_shared_bytes<W, 128>() <= device::cuda::most_shared_bytes(q.storage.device().index);
}

/// work(std::integral_constant) with the head size that the passes have tiles for.
template <class Work>
decltype(auto) with_tile_width(std::int64_t head_size, const Work& work) {
  return head_size <= 64 ? work(std::integral_constant<int, 64>{})
                         : work(std::integral_constant<int, 128>{});
}

/// Whether a pass by warpgroups is to be taken, and fits.
template <class Pass>
bool goes_by_warpgroups(device::Device gpu) {
  return wants_warpgroups(gpu) &&
         Pass::shared_bytes() <= device::cuda::most_shared_bytes(gpu.index);
}

template <MonoidWeighting W>
void fused_forward(Stream& stream, const HeadsView& out, const AttentionSaved& saved,
                   const AttentionInputs& inputs, const ConstTensor& head_parameter,
                   const W& weighting) {
  const ForwardArguments<W> arguments{
      DeviceInputs<Bf16>(inputs, head_parameter), heads_of<Bf16>(out),
      saved.rows.empty() ? nullptr : saved.rows.template data<float>(), weighting};
  with_tile_width(inputs.q.head_size, [&](auto width) {
    using ByWarpgroups = WarpgroupForwardPass<W, WarpgroupForwardShapeOf<W, width>>;
    if (goes_by_warpgroups<ByWarpgroups>(stream.device())) {
      run_warpgroup_forward<width>(stream, arguments, inputs);
    } else {
      run_forward_pass<width>(stream, arguments, inputs.q.batch);
    }
  });
}

/// How the backward of these inputs goes.
struct BackwardPlan {
  BackwardForm form = BackwardForm::apart;
  std::int64_t blocks = 0;  ///< of the key pass, for every head of keys
};

/// Enough blocks for two rounds of a large GPU's multiprocessors, two blocks each.
inline constexpr std::int64_t kWantedBlocks = 512;
/// Each block of a head has sums of its own, of as many bytes as two dq, which are added up.
inline constexpr std::int64_t kMostBlocksOfHead = 8;

template <MonoidWeighting W, int kHeadSize>
BackwardPlan backward_plan(const AttentionInputs& inputs) {
  constexpr std::int64_t kKeys = KeyPassShape<kHeadSize, kBestForm<W>>::kKeys;
  if constexpr (kBestForm<W> == BackwardForm::together) {
    const std::int64_t heads = inputs.k.batch * inputs.k.heads;
    // The first tile of every block has keys that some query sees.
    const std::int64_t used = std::min(inputs.k.time, inputs.first_position + inputs.q.time);
    const std::int64_t blocks =
        std::min(base::div_up(kWantedBlocks, heads), base::div_up(used, kKeys));
    if (blocks <= kMostBlocksOfHead) return {BackwardForm::together, blocks};
  }
  return {BackwardForm::apart, base::div_up(inputs.k.time, kKeys)};
}

template <MonoidWeighting W, int kHeadSize>
struct FusedScratch {
  using Sums = QuerySums<KeyPassShape<kHeadSize, BackwardForm::together>>;

  FusedScratch(const AttentionInputs& inputs, const BackwardPlan& plan) {
    const std::int64_t heads = inputs.q.batch * inputs.q.heads;
    parts.add(rows, heads * inputs.q.time);
    parts.add(head_partials, head_rows(inputs).partials());
    if (plan.form == BackwardForm::apart) return;
    sums_count =
        plan.blocks * heads * summed_tiles(static_cast<int>(inputs.q.time)) * Sums::kTilePacks;
    parts.add(query_sums, sums_count);
  }
  FusedScratch(const FusedScratch&) = delete;
  FusedScratch& operator=(const FusedScratch&) = delete;

  BackwardRow<W>* rows = nullptr;
  float* head_partials = nullptr;
  float4* query_sums = nullptr;
  std::int64_t sums_count = 0;
  WorkspaceParts parts;
};

template <int kHeadSize, MonoidWeighting W>
void run_apart(Stream& stream, const BackwardArguments<W>& arguments, std::int64_t batch,
               std::int64_t blocks) {
  run_query_pass<kHeadSize>(stream, arguments, batch);
  run_key_pass<KeyPassShape<kHeadSize, BackwardForm::apart>>(stream, arguments, batch, blocks);
}

template <int kHeadSize, MonoidWeighting W>
void run_together(Stream& stream, const BackwardArguments<W>& arguments,
                  const AttentionInputs& inputs, const ConstHeadsView& dout, std::int64_t blocks) {
  using Shape = KeyPassShape<kHeadSize, BackwardForm::together>;
  using Warpgroups = WarpgroupKeyShape<kHeadSize>;
  static_assert(Shape::kKeys == Warpgroups::kKeys);
  const std::int64_t batch = inputs.q.batch;
  prepare_rows<kHeadSize>(stream, arguments, batch);
  if (goes_by_warpgroups<WarpgroupKeyPass<W, Warpgroups>>(stream.device())) {
    run_warpgroup_key_pass<kHeadSize>(stream, arguments, inputs, dout, blocks);
    finish_queries<QuerySums<Warpgroups>>(stream, arguments, batch, blocks);
  } else {
    run_key_pass<Shape>(stream, arguments, batch, blocks);
    finish_queries<QuerySums<Shape>>(stream, arguments, batch, blocks);
  }
}

template <int kHeadSize, MonoidWeighting W>
void fused_backward(Stream& stream, const AttentionGradients& gradients,
                    const Tensor& head_gradient, const ConstHeadsView& dout,
                    const ConstHeadsView& out, const AttentionSaved& saved,
                    const AttentionInputs& inputs, const ConstTensor& head_parameter,
                    const W& weighting, const BackwardPlan& plan) {
  FusedScratch<W, kHeadSize> scratch(inputs, plan);
  scratch.parts.take(stream);
  const BackwardArguments<W> arguments{DeviceInputs<Bf16>(inputs, head_parameter),
                                       heads_of<Bf16>(out),
                                       heads_of<Bf16>(dout),
                                       heads_of<Bf16>(gradients.dq),
                                       heads_of<Bf16>(gradients.dk),
                                       heads_of<Bf16>(gradients.dv),
                                       saved.rows.template data<float>(),
                                       gradients.drow_scale.template data<float>(),
                                       scratch.rows,
                                       weighting,
                                       scratch.query_sums};
  const std::int64_t batch = inputs.q.batch;
  if constexpr (kBestForm<W> == BackwardForm::together) {
    if (plan.form == BackwardForm::together) {
      if (!begins_sums(arguments.in)) {
        device::fill_zero(stream, Tensor(scratch.query_sums, DType::f32, {4 * scratch.sums_count},
                                         stream.device()));
      }
      run_together<kHeadSize>(stream, arguments, inputs, dout, plan.blocks);
    }
  }
  if (plan.form == BackwardForm::apart) {
    run_apart<kHeadSize>(stream, arguments, batch, plan.blocks);
  }
  add_head_gradient(stream, head_gradient, head_parameter, saved, inputs, &scratch.rows->d,
                    static_cast<std::int64_t>(sizeof(BackwardRow<W>) / sizeof(float)),
                    scratch.head_partials, weighting);
}

}  // namespace ssmax::kernels::cuda
