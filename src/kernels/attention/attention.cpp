#include "kernels/attention/attention.h"

#include <string>

#include "base/errors.h"
#include "kernels/attention/attention_cpu.h"
#include "kernels/attention/row_scale_cpu.h"

namespace ssmax::kernels {

namespace {

void require_view(const ConstHeadsView& view, const char* what) {
  require(view.batch > 0 && view.time > 0 && view.heads > 0 && view.head_size > 0, what);
}

[[noreturn]] void fail_first_key(std::int64_t b, std::int64_t t, std::int64_t found,
                                 std::int64_t least, std::int64_t last) {
  throw base::Error(base::ErrorKind::usage,
                    "attention: query " + std::to_string(t) + " of sequence " + std::to_string(b) +
                        " must see its first key in [" + std::to_string(least) + ", " +
                        std::to_string(last) + "], first_key is " + std::to_string(found));
}

void check_first_keys(const ConstTensor& first_key, std::int64_t batch, std::int64_t time,
                      std::int64_t first_position) {
  if (first_key.empty()) return;
  require_dtype(first_key, DType::i32, "attention: first_key");
  require_shape(first_key, {batch, time}, "attention: first_key");
  if (first_key.device().kind != device::DeviceKind::cpu) return;
  for (std::int64_t b = 0; b < batch; ++b) {
    std::int64_t least = 0;  // a document that has begun does not go on after the next one
    for (std::int64_t t = 0; t < time; ++t) {
      const std::int64_t first = first_visible(first_key, b, t);
      const std::int64_t last = first_position + t;
      if (first < least || first > last) fail_first_key(b, t, first, least, last);
      least = first;
    }
  }
}

}  // namespace

void check_attention_inputs(const AttentionInputs& inputs) {
  require_view(inputs.q, "attention: q is empty");
  require_view(inputs.k, "attention: k is empty");
  check_attention_view(inputs.v, inputs.k, "attention: v");
  const DType dtype = inputs.q.storage.dtype();
  require(dtype != DType::i32, "attention: expected f32, bf16 or f64, found i32");
  require_dtype(inputs.k.storage, dtype, "attention: k");
  require(inputs.q.batch == inputs.k.batch && inputs.q.head_size == inputs.k.head_size,
          "attention: q and k must agree in batch and head size");
  require(inputs.q.heads % inputs.k.heads == 0,
          "attention: the number of query heads must be a multiple of the key/value heads");
  require(inputs.first_position >= 0 && inputs.k.time >= inputs.first_position + inputs.q.time,
          "attention: there must be a key for every position, first_position + T <= S");
  check_attention_rows(inputs.row_scale, inputs, 1, "attention: row_scale");
  check_first_keys(inputs.first_key, inputs.q.batch, inputs.q.time, inputs.first_position);
  if (!inputs.alibi.empty()) {
    require_dtype(inputs.alibi, device::accumulator_dtype(dtype), "attention: alibi");
    require_shape(inputs.alibi, {inputs.q.heads}, "attention: alibi");
  }
}

void check_attention_view(const ConstHeadsView& view, const ConstHeadsView& like,
                          const char* what) {
  require_dtype(view.storage, like.storage.dtype(), what);
  const Shape found{view.batch, view.time, view.heads, view.head_size};
  const Shape expected{like.batch, like.time, like.heads, like.head_size};
  if (found != expected) {
    throw base::Error(base::ErrorKind::usage, std::string(what) + ": expected (B, T, heads, D) " +
                                                  expected.text() + ", found " + found.text());
  }
}

void check_attention_view(const HeadsView& view, const ConstHeadsView& like, const char* what) {
  check_attention_view(as_const(view), like, what);
}

void check_attention_rows(const ConstTensor& rows, const AttentionInputs& inputs,
                          std::int64_t row_values, const char* what) {
  require_dtype(rows, device::accumulator_dtype(inputs.q.storage.dtype()), what);
  const std::int64_t count = inputs.q.batch * inputs.q.heads * inputs.q.time;
  if (rows.elements() != count * row_values) {
    throw base::Error(base::ErrorKind::usage, std::string(what) + ": expected " +
                                                  std::to_string(row_values) + " values for " +
                                                  std::to_string(count) + " rows, found shape " +
                                                  rows.shape().text());
  }
}

std::int64_t attention_workspace_bytes(std::int64_t keys, std::int64_t head_size) {
  const cpu::TileShape shape(0, keys, head_size);
  return cpu::backward_floats(shape) * static_cast<std::int64_t>(sizeof(float));
}

LogFit fit_logarithm(std::span<const double> table) {
  const auto count = static_cast<double>(table.size());
  double mean_log = 0;
  double mean = 0;
  for (std::size_t i = 0; i < table.size(); ++i) {
    mean_log += std::log(static_cast<double>(i + 1)) / count;
    mean += table[i] / count;
  }
  double covariance = 0;
  double variance = 0;
  for (std::size_t i = 0; i < table.size(); ++i) {
    const double centered = std::log(static_cast<double>(i + 1)) - mean_log;
    covariance += centered * (table[i] - mean);
    variance += centered * centered;
  }
  const double slope = variance > 0 ? covariance / variance : 0.0;
  return {.slope = slope, .offset = mean - slope * mean_log};
}

void check_row_scale(const ConstTensor& c, std::span<const ConstTensor> parameters,
                     std::size_t head_parameters, const RowLengths& lengths) {
  require(c.shape().rank() == 3 && c.extent(0) == lengths.batch && c.extent(2) == lengths.time,
          "row_scale: c must be (B, H, T) as the lengths say");
  require(c.dtype() == DType::f32 || c.dtype() == DType::f64, "row_scale: c must be f32 or f64");
  check_first_keys(lengths.first_key, lengths.batch, lengths.time, lengths.first_position);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    require_dtype(parameters[i], c.dtype(), "row_scale: parameter");
    if (i < head_parameters) require_shape(parameters[i], {c.extent(1)}, "row_scale: parameter");
  }
}

namespace cpu {

template void attention_forward<SoftmaxWeighting>(Stream&, const HeadsView&, const AttentionSaved&,
                                                  const AttentionInputs&, const ConstTensor&,
                                                  const SoftmaxWeighting&);
template void attention_backward<SoftmaxWeighting>(Stream&, const AttentionGradients&,
                                                   const Tensor&, const ConstHeadsView&,
                                                   const ConstHeadsView&, const AttentionSaved&,
                                                   const AttentionInputs&, const ConstTensor&,
                                                   const SoftmaxWeighting&);
template void attention_weights<SoftmaxWeighting>(Stream&, const Tensor&, const AttentionInputs&,
                                                  const ConstTensor&, const SoftmaxWeighting&);

template void row_scale<UnitLength>(Stream&, const Tensor&, std::span<const ConstTensor>,
                                    const RowLengths&, const RowScale<UnitLength>&);
template void row_scale_backward<UnitLength>(Stream&, std::span<const Tensor>, const ConstTensor&,
                                             std::span<const ConstTensor>, const RowLengths&,
                                             const RowScale<UnitLength>&);
template void row_scale<LogLength>(Stream&, const Tensor&, std::span<const ConstTensor>,
                                   const RowLengths&, const RowScale<LogLength>&);
template void row_scale_backward<LogLength>(Stream&, std::span<const Tensor>, const ConstTensor&,
                                            std::span<const ConstTensor>, const RowLengths&,
                                            const RowScale<LogLength>&);

}  // namespace cpu

}  // namespace ssmax::kernels
