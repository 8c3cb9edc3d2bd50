#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "device/parallel.h"
#include "kernels/attention/attention_reference.h"
#include "kernels/attention/attention_rows.h"
#include "kernels/attention/attention_tile.h"

/// The CPU backend: f32 and bf16 activations, computed in fp32 in tiles of whole rows. Include it
/// where a weighting is instantiated.
namespace ssmax::kernels::cpu {

template <Weighting W>
float head_value(const ConstTensor& parameter, std::int64_t h, const W& weighting) {
  if constexpr (HeadWeighting<W>) {
    return parameter.empty() ? static_cast<float>(weighting.head_constant())
                             : parameter.data<float>()[h];
  }
  return 0.0F;
}

inline RowBias row_bias(const AttentionInputs& inputs, std::int64_t h, std::int64_t keys) {
  return {.slope = inputs.alibi.empty() ? 0.0F : inputs.alibi.data<float>()[h],
          .position = static_cast<float>(keys - 1)};
}

/// Everything a task reads and writes.
template <Weighting W>
struct ForwardCall {
  const HeadsView& out;
  const AttentionSaved& saved;
  const AttentionInputs& inputs;
  const ConstTensor& head_parameter;
  const W& weighting;

  void save(const RowOf<W, float>& row, std::int64_t index) const {
    if (!saved.rows.empty()) {
      weighting.save(row, saved.rows.data<float>() + index * W::kRowValues);
    }
  }
};

/// Queries [begin, end) of all heads that read key/value head `group` of sequence b.
template <class T, Weighting W>
void forward_task(const ForwardCall<W>& call, std::int64_t b, std::int64_t group,
                  std::int64_t begin, std::int64_t end) {
  const AttentionInputs& inputs = call.inputs;
  const std::int64_t base = least_first_key(inputs, b, begin, end);
  const TileShape shape(base, inputs.first_position + end - base, inputs.q.head_size);
  Scratch scratch(forward_floats(shape));
  float* keys = scratch.take(shape.operand());
  float* values = scratch.take(shape.operand());
  float* q = scratch.take(shape.rows());
  float* o = scratch.take(shape.rows());
  float* tile = scratch.take(shape.tile());
  float* x = scratch.take(shape.stride);
  copy_panels<T>(keys, inputs.k, b, group, shape, scratch.take(kBlockColumns * shape.width));
  copy_rows<T>(values, inputs.v, b, group, base, shape.keys, shape);

  const std::int64_t heads_per_group = inputs.q.heads / inputs.k.heads;
  for (std::int64_t i = 0; i < heads_per_group; ++i) {
    const std::int64_t h = group * heads_per_group + i;
    const std::int64_t row_base = (b * inputs.q.heads + h) * inputs.q.time;
    const float head = head_value(call.head_parameter, h, call.weighting);
    for (std::int64_t t = begin; t < end; t += kTileRows) {
      const TileQueries queries(inputs, b, t, std::min(kTileRows, end - t), base);
      copy_rows<T>(q, inputs.q, b, h, t, queries.count, shape);
      score_tile(tile, q, keys, queries, shape);
      for (std::int64_t r = 0; r < queries.count; ++r) {
        float* tile_row = tile + r * shape.stride;
        float* y = tile_row + queries.first[r];
        const std::int64_t n = queries.keys(r);
        scale_row(x, y, n, tile_scale(inputs, row_base + t + r), row_bias(inputs, h, n));
        call.save(weigh_row(y, x, n, head, call.weighting), row_base + t + r);
        clear_masked(tile_row, queries, r);
      }
      gather_tile(o, tile, values, queries, shape);
      for (std::int64_t r = 0; r < queries.count; ++r) {
        store_row(call.out.template at<T>(b, t + r, h), o + r * shape.width, shape.size);
      }
    }
  }
}

/// Few queries against many keys, as in generation: dot products straight from the cache, since a
/// transposed copy of the keys would cost more than the product. Returns the weights in `y`.
template <class T, Weighting W>
RowOf<W, float> weigh_query(float* y, float* x, const AttentionInputs& inputs, float head,
                            const W& weighting, std::int64_t b, std::int64_t h, std::int64_t t) {
  const std::int64_t size = inputs.q.head_size;
  const std::int64_t group = h / (inputs.q.heads / inputs.k.heads);
  const std::int64_t first = first_visible(inputs.first_key, b, t);
  const std::int64_t n = inputs.first_position + t + 1 - first;
  const T* q = inputs.q.at<T>(b, t, h);
  for (std::int64_t j = 0; j < n; ++j) {
    const T* k = inputs.k.at<T>(b, first + j, group);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t d = 0; d < size; ++d) {
      sum += static_cast<float>(q[d]) * static_cast<float>(k[d]);
    }
    x[j] = sum;
  }
  scale_row(x, x, n, tile_scale(inputs, (b * inputs.q.heads + h) * inputs.q.time + t),
            row_bias(inputs, h, n));
  return weigh_row(y, x, n, head, weighting);
}

template <class T, Weighting W>
void forward_queries(const ForwardCall<W>& call) {
  const AttentionInputs& inputs = call.inputs;
  const std::int64_t size = inputs.q.head_size;
  const std::int64_t group_heads = inputs.q.heads / inputs.k.heads;
  device::parallel_for(
      inputs.q.batch * inputs.q.heads * inputs.q.time, 1, [&](std::int64_t index, std::int64_t) {
        const std::int64_t t = index % inputs.q.time;
        const std::int64_t h = index / inputs.q.time % inputs.q.heads;
        const std::int64_t b = index / inputs.q.time / inputs.q.heads;
        const std::int64_t first = first_visible(inputs.first_key, b, t);
        const std::int64_t n = inputs.first_position + t + 1 - first;
        Scratch scratch(2 * n + size);
        float* x = scratch.take(n);
        float* y = scratch.take(n);
        float* o = scratch.take(size);
        const float head = head_value(call.head_parameter, h, call.weighting);
        call.save(weigh_query<T>(y, x, inputs, head, call.weighting, b, h, t), index);
        std::fill(o, o + size, 0.0F);
        for (std::int64_t j = 0; j < n; ++j) {
          const T* v = inputs.v.at<T>(b, first + j, h / group_heads);
          const float weight = y[j];
#pragma omp simd
          for (std::int64_t d = 0; d < size; ++d) o[d] += weight * static_cast<float>(v[d]);
        }
        store_row(call.out.template at<T>(b, t, h), o, size);
      });
}

/// Below this many queries the operands are not worth packing.
inline constexpr std::int64_t kFewQueries = 4;

template <class T, Weighting W>
void tiled_forward(const ForwardCall<W>& call) {
  const AttentionInputs& inputs = call.inputs;
  if (inputs.q.time < kFewQueries) {
    forward_queries<T>(call);
    return;
  }
  // Rows do not touch each other, so the cut may follow the number of threads.
  const std::int64_t groups = inputs.k.batch * inputs.k.heads;
  const std::int64_t tiles = base::div_up(inputs.q.time, kTileRows);
  const std::int64_t wanted = base::div_up(2 * device::cpu_threads(), groups);
  const std::int64_t cut =
      base::div_up(tiles, std::min(tiles, groups >= device::cpu_threads() ? 1 : wanted)) *
      kTileRows;
  const std::int64_t parts = base::div_up(inputs.q.time, cut);
  device::parallel_for(groups * parts, 1, [&](std::int64_t task, std::int64_t) {
    const std::int64_t group = task / parts;
    // The last part has the most keys: first.
    const std::int64_t begin = (parts - 1 - task % parts) * cut;
    forward_task<T>(call, group / inputs.k.heads, group % inputs.k.heads, begin,
                    std::min(inputs.q.time, begin + cut));
  });
}

template <Weighting W>
struct BackwardCall {
  const AttentionGradients& gradients;
  std::span<double> head_sums;  ///< (B, H) of the head parameter's gradient, or empty
  const ConstHeadsView& dout;
  const AttentionSaved& saved;
  const AttentionInputs& inputs;
  const ConstTensor& head_parameter;
  const W& weighting;
};

/// sum_d left_d right_d in fp32.
template <class T>
float dot(const float* left, const T* right, std::int64_t size) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t d = 0; d < size; ++d) sum += left[d] * static_cast<float>(right[d]);
  return sum;
}

/// The fp32 operands and sums of a task of the backward.
struct BackwardScratch {
  explicit BackwardScratch(const TileShape& shape) : scratch(backward_floats(shape)) {
    for (float** part : {&key_panels, &value_panels, &keys, &dk, &dv}) {
      *part = scratch.take(shape.operand());
    }
    for (float** part : {&q, &dout, &dq}) *part = scratch.take(shape.rows());
    for (float** part : {&x, &g}) *part = scratch.take(shape.tile());
    e = scratch.take(shape.stride);
    panel_rows = scratch.take(kBlockColumns * shape.width);
    std::fill(dk, dk + 2 * shape.operand(), 0.0F);  // dk and dv lie side by side
  }

  Scratch scratch;
  float* key_panels = nullptr;
  float* value_panels = nullptr;
  float* keys = nullptr;
  float* dk = nullptr;
  float* dv = nullptr;
  float* q = nullptr;
  float* dout = nullptr;
  float* dq = nullptr;
  float* x = nullptr;  ///< scores, then weights
  float* g = nullptr;  ///< dO.v, then dx
  float* e = nullptr;  ///< exponentials of one row
  float* panel_rows = nullptr;
};

template <class T, Weighting W>
void backward_tile(const BackwardCall<W>& call, const BackwardScratch& s,
                   const TileQueries& queries, const TileShape& shape, std::int64_t b,
                   std::int64_t h) {
  const AttentionInputs& inputs = call.inputs;
  const std::int64_t t = queries.begin;
  const std::int64_t first_row = (b * inputs.q.heads + h) * inputs.q.time + t;
  copy_rows<T>(s.q, inputs.q, b, h, t, queries.count, shape);
  copy_rows<T>(s.dout, call.dout, b, h, t, queries.count, shape);
  score_tile(s.x, s.q, s.key_panels, queries, shape);
  score_tile(s.g, s.dout, s.value_panels, queries, shape);
  const float head = head_value(call.head_parameter, h, call.weighting);
  float frozen[kTileRows] = {};
  for (std::int64_t r = 0; r < queries.count; ++r) {
    const std::int64_t n = queries.keys(r);
    const auto row = call.weighting.load(
        call.saved.rows.template data<float>() + (first_row + r) * W::kRowValues, n);
    float* x = s.x + r * shape.stride;
    float* g = s.g + r * shape.stride;
    float* x_row = x + queries.first[r];
    scale_row(x_row, x_row, n, tile_scale(inputs, first_row + r), row_bias(inputs, h, n));
    RowKeys<W> keys(x_row, g + queries.first[r], s.e, n);
    const RowTotals sums = differentiate_keys(keys, row, head, call.weighting);
    frozen[r] = sums.frozen;
    if constexpr (HeadWeighting<W>) {
      if (!call.head_sums.empty()) {
        call.head_sums[static_cast<std::size_t>(b * inputs.q.heads + h)] +=
            call.weighting.head_gradient(row, sums.d, head);
      }
    }
    clear_masked(x, queries, r);
    clear_masked(g, queries, r);
  }
  gather_tile(s.dq, s.g, s.keys, queries, shape);
  scatter_tile(s.dv, s.x, s.dout, queries, shape);
  const float tau = 1.0F / std::sqrt(static_cast<float>(shape.size));
  for (std::int64_t r = 0; r < queries.count; ++r) {
    float* q = s.q + r * shape.width;
    float* dq = s.dq + r * shape.width;
    const float scale = tile_scale(inputs, first_row + r);
    float dc = dot(q, dq, shape.size);
    if constexpr (ScaleFreeWeighting<W>) {
      // Without a bias the terms with 1 / spread, which grow as 1 / c, cancel in dc: they stay out.
      if (inputs.alibi.empty() && scale != 0) dc = frozen[r] / scale;
    }
    call.gradients.drow_scale.template data<float>()[first_row + r] = tau * dc;
#pragma omp simd
    for (std::int64_t d = 0; d < shape.size; ++d) {
      q[d] *= scale;
      dq[d] *= scale;
    }
    store_row(call.gradients.dq.template at<T>(b, t + r, h), dq, shape.size);
  }
  scatter_tile(s.dk, s.g, s.q, queries, shape);
}

/// All queries of all heads that read key/value head `group` of sequence b, in order: sums of dk
/// and dv need neither atomics nor a second pass.
template <class T, Weighting W>
void backward_task(const BackwardCall<W>& call, std::int64_t b, std::int64_t group) {
  const AttentionInputs& inputs = call.inputs;
  const std::int64_t time = inputs.q.time;
  const std::int64_t base = least_first_key(inputs, b, 0, time);
  const TileShape shape(base, inputs.first_position + time - base, inputs.q.head_size);
  const BackwardScratch scratch(shape);
  copy_panels<T>(scratch.key_panels, inputs.k, b, group, shape, scratch.panel_rows);
  copy_panels<T>(scratch.value_panels, inputs.v, b, group, shape, scratch.panel_rows);
  copy_rows<T>(scratch.keys, inputs.k, b, group, base, shape.keys, shape);
  const std::int64_t heads_per_group = inputs.q.heads / inputs.k.heads;
  for (std::int64_t i = 0; i < heads_per_group; ++i) {
    for (std::int64_t t = 0; t < time; t += kTileRows) {
      const TileQueries queries(inputs, b, t, std::min(kTileRows, time - t), base);
      backward_tile<T>(call, scratch, queries, shape, b, group * heads_per_group + i);
    }
  }
  for (std::int64_t key = 0; key < inputs.k.time; ++key) {
    const std::int64_t column = key - base;
    T* dk = call.gradients.dk.template at<T>(b, key, group);
    T* dv = call.gradients.dv.template at<T>(b, key, group);
    if (column < 0 || column >= shape.keys) {
      std::fill(dk, dk + shape.size, T(0.0F));
      std::fill(dv, dv + shape.size, T(0.0F));
    } else {
      store_row(dk, scratch.dk + column * shape.width, shape.size);
      store_row(dv, scratch.dv + column * shape.width, shape.size);
    }
  }
}

/// gradient_h += the sums of head h (B, H) over the sequences, in their order.
template <class Real>
void add_head_sums(const Tensor& gradient, std::span<const double> sums) {
  if (sums.empty()) return;
  const auto heads = static_cast<std::size_t>(gradient.elements());
  for (std::size_t h = 0; h < heads; ++h) {
    double sum = 0;
    for (std::size_t i = h; i < sums.size(); i += heads) sum += sums[i];
    gradient.data<Real>()[h] += static_cast<Real>(sum);
  }
}

template <Weighting W>
void attention_forward(Stream& /*stream*/, const HeadsView& out, const AttentionSaved& saved,
                       const AttentionInputs& inputs, const ConstTensor& head_parameter,
                       const W& weighting) {
  const ForwardCall<W> call{out, saved, inputs, head_parameter, weighting};
  switch (inputs.q.storage.dtype()) {
    case DType::f64:
      reference::attention_forward(out, saved, inputs, head_parameter, weighting);
      break;
    case DType::bf16:
      tiled_forward<device::Bf16>(call);
      break;
    default:
      tiled_forward<float>(call);
  }
}

template <class T, Weighting W>
void tiled_backward(const BackwardCall<W>& call) {
  const ConstHeadsView& k = call.inputs.k;
  device::parallel_for(k.batch * k.heads, 1, [&](std::int64_t task, std::int64_t) {
    backward_task<T>(call, task / k.heads, task % k.heads);
  });
}

template <Weighting W>
void attention_backward(Stream& /*stream*/, const AttentionGradients& gradients,
                        const Tensor& head_gradient, const ConstHeadsView& dout,
                        const ConstHeadsView& out, const AttentionSaved& saved,
                        const AttentionInputs& inputs, const ConstTensor& head_parameter,
                        const W& weighting) {
  std::vector<double> sums;
  if (!head_gradient.empty()) {
    sums.resize(static_cast<std::size_t>(inputs.q.batch * inputs.q.heads));
  }
  const BackwardCall<W> call{gradients, sums, dout, saved, inputs, head_parameter, weighting};
  switch (inputs.q.storage.dtype()) {
    case DType::f64:
      reference::attention_backward(gradients, sums, dout, out, saved, inputs, head_parameter,
                                    weighting);
      add_head_sums<double>(head_gradient, sums);
      break;
    case DType::bf16:
      tiled_backward<device::Bf16>(call);
      add_head_sums<float>(head_gradient, sums);
      break;
    default:
      tiled_backward<float>(call);
      add_head_sums<float>(head_gradient, sums);
  }
}

template <class T, Weighting W>
void float_weights(const Tensor& weights, const AttentionInputs& inputs,
                   const ConstTensor& head_parameter, const W& weighting) {
  const ConstHeadsView& q = inputs.q;
  device::parallel_for(q.batch * q.heads * q.time, 1, [&](std::int64_t index, std::int64_t) {
    const std::int64_t t = index % q.time;
    const std::int64_t h = index / q.time % q.heads;
    const std::int64_t b = index / q.time / q.heads;
    float* y = weights.data<float>() + index * inputs.k.time;
    std::fill(y, y + inputs.k.time, 0.0F);
    weigh_query<T>(y + first_visible(inputs.first_key, b, t), workspace<float>(inputs.k.time),
                   inputs, head_value(head_parameter, h, weighting), weighting, b, h, t);
  });
}

template <Weighting W>
void attention_weights(Stream& /*stream*/, const Tensor& weights, const AttentionInputs& inputs,
                       const ConstTensor& head_parameter, const W& weighting) {
  switch (inputs.q.storage.dtype()) {
    case DType::f64:
      reference::attention_weights(weights, inputs, head_parameter, weighting);
      break;
    case DType::bf16:
      float_weights<device::Bf16>(weights, inputs, head_parameter, weighting);
      break;
    default:
      float_weights<float>(weights, inputs, head_parameter, weighting);
  }
}

}  // namespace ssmax::kernels::cpu
