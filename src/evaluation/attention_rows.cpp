#include "evaluation/attention_rows.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/cast/cast.h"

namespace ssmax::evaluation {

AttentionRows::AttentionRows(const model::Model& model, std::int64_t batch, std::int64_t capacity,
                             device::Arena& arena)
    : model_(model), host_(static_cast<std::size_t>(batch * model.config().heads() * capacity)) {
  const device::Shape shape{batch, model.config().heads(), 1, capacity};
  weights_ = arena.allocate("attention weights", device::accumulator_dtype(model.dtype()), shape);
  wide_ = arena.allocate("attention weights", device::DType::f64, shape);
}

model::AttentionVisitor AttentionRows::visitor(Stream& stream, See see) {
  return [this, &stream, see = std::move(see)](int block, const kernels::AttentionInputs& given,
                                               std::span<const device::ConstTensor> parameters) {
    kernels::AttentionInputs inputs = given;
    const std::int64_t keys = inputs.first_position + 1;
    inputs.k.time = keys;
    inputs.v.time = keys;
    const device::Shape shape{inputs.q.batch, inputs.q.heads, 1, keys};
    const device::Tensor weights(weights_.raw(), weights_.dtype(), shape, weights_.device());
    const device::Tensor wide(wide_.raw(), wide_.dtype(), shape, wide_.device());
    model_.parts().normalizer->weights(stream, weights, inputs, parameters);
    kernels::cast(stream, wide, weights);
    device::copy(stream, device::view(host_.data(), shape), wide);
    stream.synchronize();
    AttentionRow row{block, inputs.q.batch, inputs.q.heads, keys, {}};
    row.weights = std::span(host_).first(static_cast<std::size_t>(shape.elements()));
    see(row);
  };
}

double weight_on(std::span<const double> weights, corpus::TokenSpan span) {
  const auto part = weights.subspan(span.begin, span.end - span.begin);
  return std::accumulate(part.begin(), part.end(), 0.0);
}

RowSpread spread_of(std::span<const double> weights) {
  RowSpread spread;
  double total = 0.0;
  for (const double weight : weights) {
    spread.sum += weight;
    spread.maximum = std::max(spread.maximum, weight);
    total += std::abs(weight);
  }
  if (total == 0.0) return spread;
  for (const double weight : weights) {
    const double share = std::abs(weight) / total;
    if (share > 0.0) spread.entropy -= share * std::log(share);
  }
  return spread;
}

}  // namespace ssmax::evaluation
