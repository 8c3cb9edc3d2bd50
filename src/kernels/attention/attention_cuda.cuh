#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "base/checked.h"
#include "base/errors.h"
#include "device/cuda_check.h"
#include "device/workspace_cuda.h"
#include "kernels/attention/forward_pass_cuda.cuh"
#include "kernels/attention/head_sums_cuda.cuh"
#include "kernels/attention/key_pass_cuda.cuh"
#include "kernels/attention/query_pass_cuda.cuh"
#include "kernels/attention/row_kernels_cuda.cuh"

/// The CUDA backend. bf16 activations of head sizes up to 128 run in the fused passes, everything
/// else by rows. Include it where a weighting is instantiated.
namespace ssmax::kernels::cuda {

/// Largest head size.
inline constexpr std::int64_t kMostHeadSize = 256;
/// Fewer queries are a small part of the fused forward's tile: they go by rows, where the keys are
/// split over blocks.
inline constexpr std::int64_t kFewQueries = 16;
/// Scores of a chunk of rows take at most this, or eight rows.
inline constexpr std::int64_t kRowChunkBytes = std::int64_t{64} << 20;

/// Parts of the stream's workspace, each aligned to 256 bytes.
class WorkspaceParts {
 public:
  template <class T>
  void add(T*& part, std::int64_t count) {
    const std::int64_t at = bytes_;
    bytes_ += base::div_up(count * static_cast<std::int64_t>(sizeof(T)), 256) * 256;
    parts_.push_back([&part, at](char* begin) { part = reinterpret_cast<T*>(begin + at); });
  }
  std::int64_t bytes() const { return bytes_; }
  void take(Stream& stream) {
    auto* begin = static_cast<char*>(device::cuda::workspace(stream, bytes_));
    for (const auto& part : parts_) part(begin);
  }

 private:
  std::int64_t bytes_ = 0;
  std::vector<std::function<void(char*)>> parts_;
};

inline bool starts_aligned(const ConstHeadsView& view) {
  const auto data = reinterpret_cast<std::uintptr_t>(view.storage.raw());
  const std::int64_t element = device::size_of(view.storage.dtype());
  const auto aligned = [&](std::int64_t elements) { return elements * element % 16 == 0; };
  return data % 16 == 0 && aligned(view.offset) && aligned(view.batch_stride) &&
         aligned(view.time_stride) && aligned(view.head_size);
}

/// Shared memory of the fused pass that needs the most.
template <Weighting W, int kHeadSize>
constexpr std::int64_t fused_shared_bytes() {
  return std::max({forward_shared_bytes<W, ForwardShapeOf<W, kHeadSize>>(),
                   query_pass_shared_bytes<W, QueryPassShapeOf<W, kHeadSize>>(),
                   key_pass_shared_bytes<W, KeyPassShape<kHeadSize>>()});
}

/// Whether the fused passes take these views; heads of more than 64 need more shared memory than
/// GPUs for desktops have.
template <Weighting W, class... Views>
bool fits_tiles(const ConstHeadsView& q, const Views&... others) {
  if (q.storage.dtype() != DType::bf16 || q.head_size > 128 || !starts_aligned(q) ||
      !(starts_aligned(others) && ...)) {
    return false;
  }
  return q.head_size <= 64 ||
         fused_shared_bytes<W, 128>() <= device::cuda::most_shared_bytes(q.storage.device().index);
}

inline void check_supported(const AttentionInputs& inputs) {
  require(inputs.q.storage.dtype() != DType::f64,
          "attention on a GPU: expected f32 or bf16, found f64; double runs on the CPU");
  require(inputs.q.head_size <= kMostHeadSize,
          "attention on a GPU: the head size must be at most 256");
}

inline HeadRows head_rows(const AttentionInputs& inputs) {
  return {static_cast<int>(inputs.q.batch), static_cast<int>(inputs.q.heads),
          static_cast<int>(inputs.q.time)};
}

/// Work on rows in chunks.
template <class T>
struct RowPlan {
  RowPlan(const AttentionInputs& inputs, AttentionPass pass, std::int64_t chunk_bytes)
      : keys(inputs.k.time),
        blocks(inputs.q.batch * inputs.q.heads * base::div_up(inputs.q.time, kRowsAtOnce)),
        size(inputs.q.head_size),
        loads(starts_aligned(inputs.k) && starts_aligned(inputs.v) ? Loads::packs
                                                                   : Loads::elements) {
    const std::int64_t buffers = pass == AttentionPass::forward ? 1 : 2;
    const std::int64_t block_bytes =
        buffers * kRowsAtOnce * keys * static_cast<std::int64_t>(sizeof(float));
    at_once = std::clamp<std::int64_t>(chunk_bytes / block_bytes, 1, blocks);
    // Enough blocks for any GPU, and splits that are worth one.
    const std::int64_t wanted = base::div_up(std::int64_t{1024}, at_once);
    const std::int64_t most = base::div_up(keys, std::int64_t{2 * kColumnThreads});
    splits.count = static_cast<int>(std::clamp<std::int64_t>(wanted, 1, most));
    splits.keys = static_cast<int>(base::div_up(keys, splits.count));
  }

  std::int64_t rows() const { return at_once * kRowsAtOnce; }
  std::int64_t partials() const { return rows() * splits.count * size; }

  template <class Work>
  void for_each_chunk(const Work& work) const {
    for (std::int64_t first = 0; first < blocks; first += at_once) {
      work(RowChunk{static_cast<int>(first), static_cast<int>(std::min(at_once, blocks - first)),
                    keys});
    }
  }

  std::int64_t keys;
  std::int64_t blocks;
  std::int64_t size;
  Loads loads;
  std::int64_t at_once = 0;
  KeySplits splits{};
};

/// The workspace of a pass by rows; pointers are valid once the parts are taken.
template <class T>
struct RowScratch {
  RowScratch(const RowPlan<T>& plan, const AttentionInputs& inputs, AttentionPass pass) {
    parts.add(x, plan.rows() * plan.keys);
    parts.add(partial, plan.partials());
    if (pass == AttentionPass::forward) return;
    parts.add(g, plan.rows() * plan.keys);
    parts.add(d, inputs.q.batch * inputs.q.heads * inputs.q.time);
    parts.add(dk, key_elements(inputs));
    parts.add(dv, key_elements(inputs));
    parts.add(head_partials, head_rows(inputs).partials());
  }
  RowScratch(const RowScratch&) = delete;
  RowScratch& operator=(const RowScratch&) = delete;

  static std::int64_t key_elements(const AttentionInputs& inputs) {
    return inputs.k.batch * inputs.k.time * inputs.k.heads * inputs.k.head_size;
  }

  float* x = nullptr;        // scores of a chunk of rows, then their weights
  float* g = nullptr;        // the gradients of the weights, then of the scores
  float* partial = nullptr;  // sums over parts of the keys
  float* d = nullptr;        // a value of every row
  float* dk = nullptr;
  float* dv = nullptr;
  float* head_partials = nullptr;
  WorkspaceParts parts;
};

template <Product kProduct, class T>
void row_product(Stream& stream, const RowPlan<T>& plan, const DeviceInputs<T>& in,
                 const Heads<const T>& dout, const RowChunk& chunk, float* out) {
  device::launch_kernel<row_product_kernel<kProduct, T>>(
      stream,
      {.grid = dim3(static_cast<unsigned>(chunk.blocks),
                    static_cast<unsigned>(base::div_up(plan.keys, kRowThreads))),
       .block = dim3(kRowThreads),
       .shared_bytes = kRowsAtOnce * plan.size * static_cast<std::int64_t>(sizeof(float))},
      in, dout, chunk, plan.loads, out);
}

template <class T>
void row_gather(Stream& stream, const RowPlan<T>& plan, const DeviceInputs<T>& in,
                const Heads<const T>& from, const Heads<T>& to, const RowChunk& chunk,
                const float* weights, float* partial, float* drow_scale) {
  device::launch_kernel<row_gather_kernel<T>>(
      stream,
      {.grid = dim3(static_cast<unsigned>(chunk.blocks), static_cast<unsigned>(plan.splits.count)),
       .block = dim3(kColumnThreads),
       .shared_bytes = column_shared_bytes(plan.size)},
      in, from, chunk, weights, plan.splits, partial);
  device::launch_kernel<row_finish_kernel<T>>(
      stream,
      {.grid = device::blocks_for(std::int64_t{chunk.blocks} * kRowsAtOnce, kRowThreads / 32),
       .block = dim3(kRowThreads)},
      in, to, chunk, plan.splits, partial, drow_scale);
}

template <class T, Weighting W>
void row_forward(Stream& stream, const HeadsView& out, const AttentionSaved& saved,
                 const AttentionInputs& inputs, const ConstTensor& head_parameter,
                 const W& weighting, std::int64_t chunk_bytes = kRowChunkBytes) {
  const RowPlan<T> plan(inputs, AttentionPass::forward, chunk_bytes);
  const DeviceInputs<T> in(inputs, head_parameter);
  RowScratch<T> scratch(plan, inputs, AttentionPass::forward);
  scratch.parts.take(stream);
  float* x = scratch.x;
  float* rows = saved.rows.empty() ? nullptr : saved.rows.template data<float>();
  plan.for_each_chunk([&](const RowChunk& chunk) {
    row_product<Product::scores>(stream, plan, in, in.q, chunk, x);
    device::launch_kernel<row_weights_kernel<T, W>>(
        stream,
        {.grid = dim3(static_cast<unsigned>(chunk.blocks * kRowsAtOnce)),
         .block = dim3(kRowThreads)},
        in, chunk, x, rows, Unseen::leave, weighting);
    row_gather(stream, plan, in, in.v, heads_of<T>(out), chunk, x, scratch.partial, nullptr);
  });
}

/// A row's part of the gradient of its head's parameter; D of row r is at d[r * d_stride].
template <Weighting W>
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
  if constexpr (MonoidWeighting<W>) {
    if constexpr (W::kHeadParameter) {
      if (gradient.empty()) return;
      add_head_sums(stream, gradient.data<float>(),
                    HeadGradient<W>{parameter.data<float>(), saved.rows.template data<float>(), d,
                                    d_stride, weighting},
                    head_rows(inputs), partials);
    }
  }
}

template <class T, Weighting W>
void row_backward(Stream& stream, const AttentionGradients& gradients, const Tensor& head_gradient,
                  const ConstHeadsView& dout, const AttentionSaved& saved,
                  const AttentionInputs& inputs, const ConstTensor& head_parameter,
                  const W& weighting, std::int64_t chunk_bytes = kRowChunkBytes) {
  const RowPlan<T> plan(inputs, AttentionPass::backward, chunk_bytes);
  const DeviceInputs<T> in(inputs, head_parameter);
  const Heads<const T> dout_heads = heads_of<T>(dout);
  const std::int64_t groups = inputs.k.heads;
  const std::int64_t elements = RowScratch<T>::key_elements(inputs);
  RowScratch<T> scratch(plan, inputs, AttentionPass::backward);
  scratch.parts.take(stream);
  float* x = scratch.x;
  float* g = scratch.g;
  float* d = scratch.d;
  float* dk = scratch.dk;
  float* dv = scratch.dv;
  for (float* sums : {dk, dv}) {
    device::fill_zero(stream, Tensor(sums, DType::f32, {elements}, stream.device()));
  }
  const device::LaunchShape scatter{
      .grid = dim3(static_cast<unsigned>(inputs.k.batch * groups),
                   static_cast<unsigned>(base::div_up(plan.keys, kRowsAtOnce))),
      .block = dim3(kColumnThreads),
      .shared_bytes = column_shared_bytes(plan.size)};
  plan.for_each_chunk([&](const RowChunk& chunk) {
    row_product<Product::scores>(stream, plan, in, dout_heads, chunk, x);
    row_product<Product::value_gradients>(stream, plan, in, dout_heads, chunk, g);
    device::launch_kernel<row_gradients_kernel<T, W>>(
        stream,
        {.grid = dim3(static_cast<unsigned>(chunk.blocks * kRowsAtOnce)),
         .block = dim3(kRowThreads)},
        in, chunk, x, g, saved.rows.template data<float>(), d, weighting);
    row_gather(stream, plan, in, in.k, heads_of<T>(gradients.dq), chunk, g, scratch.partial,
               gradients.drow_scale.template data<float>());
    device::launch_kernel<row_scatter_kernel<Product::scores, T>>(stream, scatter, in, dout_heads,
                                                                  chunk, g, dk);
    device::launch_kernel<row_scatter_kernel<Product::value_gradients, T>>(
        stream, scatter, in, dout_heads, chunk, x, dv);
  });
  const auto store = [&](const HeadsView& to, const float* from) {
    device::launch_kernel<row_store_kernel<T>>(
        stream, {.grid = device::blocks_for(elements, kRowThreads), .block = dim3(kRowThreads)},
        heads_of<T>(to), from, static_cast<int>(plan.keys), static_cast<int>(groups), elements);
  };
  store(gradients.dk, dk);
  store(gradients.dv, dv);
  add_head_gradient(stream, head_gradient, head_parameter, saved, inputs, d, 1,
                    scratch.head_partials, weighting);
}

template <MonoidWeighting W>
void fused_forward(Stream& stream, const HeadsView& out, const AttentionSaved& saved,
                   const AttentionInputs& inputs, const ConstTensor& head_parameter,
                   const W& weighting) {
  const ForwardArguments<W> arguments{
      DeviceInputs<Bf16>(inputs, head_parameter), heads_of<Bf16>(out),
      saved.rows.empty() ? nullptr : saved.rows.template data<float>(), weighting};
  if (inputs.q.head_size <= 64) {
    run_forward_pass<64>(stream, arguments, inputs.q.batch);
  } else {
    run_forward_pass<128>(stream, arguments, inputs.q.batch);
  }
}

template <MonoidWeighting W>
struct FusedScratch {
  explicit FusedScratch(const AttentionInputs& inputs) {
    parts.add(rows, inputs.q.batch * inputs.q.heads * inputs.q.time);
    parts.add(head_partials, head_rows(inputs).partials());
  }
  FusedScratch(const FusedScratch&) = delete;
  FusedScratch& operator=(const FusedScratch&) = delete;

  BackwardRow<W>* rows = nullptr;
  float* head_partials = nullptr;
  WorkspaceParts parts;
};

template <MonoidWeighting W>
void fused_backward(Stream& stream, const AttentionGradients& gradients,
                    const Tensor& head_gradient, const ConstHeadsView& dout,
                    const ConstHeadsView& out, const AttentionSaved& saved,
                    const AttentionInputs& inputs, const ConstTensor& head_parameter,
                    const W& weighting) {
  FusedScratch<W> scratch(inputs);
  scratch.parts.take(stream);
  BackwardRow<W>* rows = scratch.rows;
  const BackwardArguments<W> arguments{DeviceInputs<Bf16>(inputs, head_parameter),
                                       heads_of<Bf16>(out),
                                       heads_of<Bf16>(dout),
                                       heads_of<Bf16>(gradients.dq),
                                       heads_of<Bf16>(gradients.dk),
                                       heads_of<Bf16>(gradients.dv),
                                       saved.rows.template data<float>(),
                                       gradients.drow_scale.template data<float>(),
                                       rows,
                                       weighting};
  if (inputs.q.head_size <= 64) {
    run_query_pass<64>(stream, arguments, inputs.q.batch);
    run_key_pass<64>(stream, arguments, inputs.q.batch);
  } else {
    run_query_pass<128>(stream, arguments, inputs.q.batch);
    run_key_pass<128>(stream, arguments, inputs.q.batch);
  }
  add_head_gradient(stream, head_gradient, head_parameter, saved, inputs, &rows->d,
                    static_cast<std::int64_t>(sizeof(BackwardRow<W>) / sizeof(float)),
                    scratch.head_partials, weighting);
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
      fused_backward(stream, gradients, head_gradient, dout, out, saved, inputs, head_parameter,
                     weighting);
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

template <class T, Weighting W>
void row_weights(Stream& stream, const Tensor& weights, const AttentionInputs& inputs,
                 const ConstTensor& head_parameter, const W& weighting) {
  const RowPlan<T> plan(inputs, AttentionPass::forward, kRowChunkBytes);
  const DeviceInputs<T> in(inputs, head_parameter);
  float* x = nullptr;
  WorkspaceParts parts;
  parts.add(x, plan.rows() * plan.keys);
  parts.take(stream);
  plan.for_each_chunk([&](const RowChunk& chunk) {
    row_product<Product::scores>(stream, plan, in, in.q, chunk, x);
    device::launch_kernel<row_weights_kernel<T, W>>(
        stream,
        {.grid = dim3(static_cast<unsigned>(chunk.blocks * kRowsAtOnce)),
         .block = dim3(kRowThreads)},
        in, chunk, x, nullptr, Unseen::zero, weighting);
    device::launch_kernel<row_copy_kernel<T>>(
        stream,
        {.grid = dim3(static_cast<unsigned>(chunk.blocks * kRowsAtOnce)),
         .block = dim3(kRowThreads)},
        in, chunk, x, weights.data<float>());
  });
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
      if (pass == AttentionPass::backward) return FusedScratch<W>(inputs).parts.bytes();
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
