#pragma once

#include <algorithm>

#include "kernels/attention/head_gradient_cuda.cuh"
#include "kernels/attention/row_kernels_cuda.cuh"
#include "kernels/attention/workspace_parts_cuda.cuh"

/// Attention by rows: any type, head size and alignment, rows that are solved as a whole, and few
/// queries against many keys. Scores of a chunk of rows lie in memory.
namespace ssmax::kernels::cuda {

/// Scores of a chunk of rows take at most this, or eight rows.
inline constexpr std::int64_t kRowChunkBytes = std::int64_t{64} << 20;

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

/// The weights of a chunk of rows, to `x`.
template <class T, Weighting W>
void row_weigh(Stream& stream, const RowPlan<T>& plan, const DeviceInputs<T>& in,
               const RowChunk& chunk, float* x, float* saved, Unseen unseen, const W& weighting) {
  row_product<Product::scores>(stream, plan, in, in.q, chunk, x);
  device::launch_kernel<row_weights_kernel<T, W>>(
      stream,
      {.grid = dim3(static_cast<unsigned>(chunk.blocks * kRowsAtOnce)), .block = dim3(kRowThreads)},
      in, chunk, x, saved, unseen, weighting);
}

template <class T>
void row_gather(Stream& stream, const RowPlan<T>& plan, const DeviceInputs<T>& in,
                const Heads<const T>& from, const Heads<T>& to, const RowChunk& chunk,
                const float* weights, float* partial, float* drow_scale = nullptr,
                ScaleGradient gradient = ScaleGradient::of_queries) {
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
      in, to, chunk, plan.splits, partial, drow_scale, gradient);
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
    row_weigh(stream, plan, in, chunk, x, rows, Unseen::leave, weighting);
    row_gather(stream, plan, in, in.v, heads_of<T>(out), chunk, x, scratch.partial);
  });
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
  float* drow_scale = gradients.drow_scale.template data<float>();
  // Without a bias the terms with 1 / spread, which grow as 1 / c, cancel in dc: they stay out.
  const ScaleGradient scale_gradient = ScaleFreeWeighting<W> && inputs.alibi.empty()
                                           ? ScaleGradient::is_there
                                           : ScaleGradient::of_queries;
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
        in, chunk, x, g, saved.rows.template data<float>(), d,
        scale_gradient == ScaleGradient::is_there ? drow_scale : nullptr, weighting);
    row_gather(stream, plan, in, in.k, heads_of<T>(gradients.dq), chunk, g, scratch.partial,
               drow_scale, scale_gradient);
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
    row_weigh(stream, plan, in, chunk, x, nullptr, Unseen::zero, weighting);
    device::launch_kernel<row_copy_kernel<T>>(
        stream,
        {.grid = dim3(static_cast<unsigned>(chunk.blocks * kRowsAtOnce)),
         .block = dim3(kRowThreads)},
        in, chunk, x, weights.data<float>());
  });
}

}  // namespace ssmax::kernels::cuda
