#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "device/parallel.h"
#include "kernels/attention/attention.h"

/// The slow twin in double: one whole row after the other, plain loops. It is what f64 tensors run
/// and what the tiled backends are compared to.
namespace ssmax::kernels::reference {

/// One query row: which keys it sees and how its scores are scaled.
struct Query {
  std::int64_t b = 0;
  std::int64_t h = 0;
  std::int64_t t = 0;
  std::int64_t group = 0;  ///< key/value head
  std::int64_t first = 0;  ///< first visible key
  std::int64_t keys = 0;   ///< n
  double c = 0;
  double slope = 0;
  double head = 0;  ///< the weighting's head parameter
};

template <Weighting W>
double head_value(const ConstTensor& parameter, std::int64_t h, const W& weighting) {
  if constexpr (HeadWeighting<W>) {
    return parameter.empty() ? weighting.head_constant() : parameter.data<double>()[h];
  }
  return 0.0;
}

template <Weighting W>
Query query_of(const AttentionInputs& inputs, const ConstTensor& head_parameter, std::int64_t b,
               std::int64_t h, std::int64_t t, const W& weighting) {
  Query query{.b = b, .h = h, .t = t};
  query.group = h / (inputs.q.heads / inputs.k.heads);
  query.first = first_visible(inputs.first_key, b, t);
  query.keys = inputs.first_position + t + 1 - query.first;
  query.c = inputs.row_scale.data<double>()[(b * inputs.q.heads + h) * inputs.q.time + t];
  query.slope = inputs.alibi.empty() ? 0.0 : inputs.alibi.data<double>()[h];
  query.head = head_value(head_parameter, h, weighting);
  return query;
}

/// sum_d left_d right_d
inline double dot(const double* left, const double* right, std::int64_t count) {
  double sum = 0;
  for (std::int64_t d = 0; d < count; ++d) sum += left[d] * right[d];
  return sum;
}

/// z_j = q.k_j / sqrt(D) and x_j = c z_j + bias of the visible keys.
inline void scores(std::vector<double>& z, std::vector<double>& x, const AttentionInputs& inputs,
                   const Query& query) {
  const std::int64_t width = inputs.q.head_size;
  const double* q = inputs.q.at<double>(query.b, query.t, query.h);
  z.resize(static_cast<std::size_t>(query.keys));
  x.resize(z.size());
  for (std::int64_t j = 0; j < query.keys; ++j) {
    const double* k = inputs.k.at<double>(query.b, query.first + j, query.group);
    const auto index = static_cast<std::size_t>(j);
    z[index] = dot(q, k, width) / std::sqrt(static_cast<double>(width));
    x[index] = query.c * z[index] - query.slope * static_cast<double>(query.keys - 1 - j);
  }
}

template <MonoidWeighting W>
RowOf<W, double> solve_row(const std::vector<double>& x, double head, const W& weighting) {
  RowStatistic<double> statistic;
  statistic.max = W::template lowest_max<double>();
  for (std::size_t j = 0; j < x.size(); ++j) {
    if (x[j] > statistic.max) {
      statistic.max = x[j];
      statistic.argmax = static_cast<std::int64_t>(j);
    }
    if (x[j] < statistic.min) {
      statistic.min = x[j];
      statistic.argmin = static_cast<std::int64_t>(j);
    }
  }
  const double origin = std::exp(-statistic.max);
  for (const double value : x) {
    statistic.sum += W::term(value, std::exp(value - statistic.max), origin);
  }
  return weighting.finish(statistic, head, static_cast<std::int64_t>(x.size()));
}

template <SolvingWeighting W>
RowOf<W, double> solve_row(const std::vector<double>& x, double /*head*/, const W& weighting) {
  return weighting.solve(WholeRow<double>{x.data(), static_cast<std::int64_t>(x.size())});
}

template <Weighting W>
double weight_of(const RowOf<W, double>& row, double x, const W& weighting) {
  if constexpr (SolvingWeighting<W>) {
    return weighting.weight(row, x);
  } else {
    return weighting.weight(row, x, std::exp(exponent<W>(row, x)));
  }
}

/// dx of one row from g; d = dO.O.
template <Weighting W>
std::vector<double> differentiate(const std::vector<double>& x, const std::vector<double>& g,
                                  const RowOf<W, double>& row, double d, const W& weighting) {
  std::vector<double> dx(x.size());
  if constexpr (SolvingWeighting<W>) {
    double sum = 0;
    for (std::size_t j = 0; j < x.size(); ++j) sum += weighting.coupling(row, x[j]) * g[j];
    for (std::size_t j = 0; j < x.size(); ++j) {
      dx[j] = weighting.pull(row, x[j]) * (g[j] - sum);
    }
  } else {
    double sum = 0;
    for (std::size_t j = 0; j < x.size(); ++j) {
      const double e = std::exp(exponent<W>(row, x[j]));
      if constexpr (SharingWeighting<W>) {
        double total = W::aim(row, x[j], g[j]) - d;
        if constexpr (RisingWeighting<W>) total += W::rise(row) * g[j];
        dx[j] = W::pull(row, x[j], e) * total;
      } else {
        dx[j] = W::slope(row, x[j], e) * g[j];
      }
      sum += dx[j];
    }
    if constexpr (W::kFixesExtremes) {
      const ExtremeGradients<double> extra = weighting.fix_up(row, d, sum);
      if (row.argmin >= 0) dx[static_cast<std::size_t>(row.argmin)] += extra.at_min;
      if (row.argmax >= 0) dx[static_cast<std::size_t>(row.argmax)] += extra.at_max;
    }
  }
  return dx;
}

template <Weighting W>
void attention_forward(const HeadsView& out, const AttentionSaved& saved,
                       const AttentionInputs& inputs, const ConstTensor& head_parameter,
                       const W& weighting) {
  const ConstHeadsView& q = inputs.q;
  device::parallel_for(q.batch * q.heads, 1, [&](std::int64_t task, std::int64_t) {
    std::vector<double> z;
    std::vector<double> x;
    for (std::int64_t t = 0; t < q.time; ++t) {
      const Query query =
          query_of(inputs, head_parameter, task / q.heads, task % q.heads, t, weighting);
      scores(z, x, inputs, query);
      const auto row = solve_row(x, query.head, weighting);
      if (!saved.rows.empty()) {
        weighting.save(row, saved.rows.data<double>() + (task * q.time + t) * W::kRowValues);
      }
      double* o = out.at<double>(query.b, t, query.h);
      for (std::int64_t d = 0; d < q.head_size; ++d) o[d] = 0;
      for (std::int64_t j = 0; j < query.keys; ++j) {
        const double y = weight_of(row, x[static_cast<std::size_t>(j)], weighting);
        const double* v = inputs.v.at<double>(query.b, query.first + j, query.group);
        for (std::int64_t d = 0; d < q.head_size; ++d) o[d] += y * v[d];
      }
    }
  });
}

/// The backward of one query: its own gradients, and its part of dk, dv and head_sums.
template <Weighting W>
void backward_query(const AttentionGradients& gradients, std::span<double> head_sums,
                    const ConstHeadsView& dout, const ConstHeadsView& out,
                    const AttentionSaved& saved, const AttentionInputs& inputs, const Query& query,
                    const W& weighting) {
  const std::int64_t width = inputs.q.head_size;
  const double tau = 1.0 / std::sqrt(static_cast<double>(width));
  const std::int64_t index = (query.b * inputs.q.heads + query.h) * inputs.q.time + query.t;
  std::vector<double> z;
  std::vector<double> x;
  scores(z, x, inputs, query);
  const auto row = weighting.load(saved.rows.data<double>() + index * W::kRowValues, query.keys);
  const double* dout_row = dout.at<double>(query.b, query.t, query.h);
  std::vector<double> g(x.size());
  for (std::size_t j = 0; j < x.size(); ++j) {
    const std::int64_t key = query.first + static_cast<std::int64_t>(j);
    g[j] = dot(dout_row, inputs.v.at<double>(query.b, key, query.group), width);
  }
  const double d_sum = dot(dout_row, out.at<double>(query.b, query.t, query.h), width);
  const std::vector<double> dx = differentiate(x, g, row, d_sum, weighting);

  const double* q = inputs.q.at<double>(query.b, query.t, query.h);
  double* dq = gradients.dq.at<double>(query.b, query.t, query.h);
  for (std::int64_t d = 0; d < width; ++d) dq[d] = 0;
  double dc = 0;
  for (std::size_t j = 0; j < x.size(); ++j) {
    const std::int64_t key = query.first + static_cast<std::int64_t>(j);
    const double* k = inputs.k.at<double>(query.b, key, query.group);
    double* dk = gradients.dk.at<double>(query.b, key, query.group);
    double* dv = gradients.dv.at<double>(query.b, key, query.group);
    const double y = weight_of(row, x[j], weighting);
    dc += dx[j] * z[j];
    for (std::int64_t d = 0; d < width; ++d) {
      dq[d] += tau * query.c * dx[j] * k[d];
      dk[d] += tau * query.c * dx[j] * q[d];
      dv[d] += y * dout_row[d];
    }
  }
  gradients.drow_scale.data<double>()[index] = dc;
  if constexpr (HeadWeighting<W>) {
    if (head_sums.empty()) return;
    head_sums[static_cast<std::size_t>(query.b * inputs.q.heads + query.h)] +=
        weighting.head_gradient(row, d_sum, query.head);
  }
}

/// head_sums (B, H): the gradient of the head parameter is added there, unless it is empty.
template <Weighting W>
void attention_backward(const AttentionGradients& gradients, std::span<double> head_sums,
                        const ConstHeadsView& dout, const ConstHeadsView& out,
                        const AttentionSaved& saved, const AttentionInputs& inputs,
                        const ConstTensor& head_parameter, const W& weighting) {
  const ConstHeadsView& k = inputs.k;
  const std::int64_t heads_per_group = inputs.q.heads / k.heads;
  device::parallel_for(k.batch * k.heads, 1, [&](std::int64_t task, std::int64_t) {
    const std::int64_t b = task / k.heads;
    const std::int64_t group = task % k.heads;
    for (std::int64_t key = 0; key < k.time; ++key) {
      double* dk = gradients.dk.at<double>(b, key, group);
      double* dv = gradients.dv.at<double>(b, key, group);
      for (std::int64_t d = 0; d < k.head_size; ++d) dk[d] = dv[d] = 0;
    }
    for (std::int64_t i = 0; i < heads_per_group; ++i) {
      for (std::int64_t t = 0; t < inputs.q.time; ++t) {
        const Query query =
            query_of(inputs, head_parameter, b, group * heads_per_group + i, t, weighting);
        backward_query(gradients, head_sums, dout, out, saved, inputs, query, weighting);
      }
    }
  });
}

template <Weighting W>
void attention_weights(const Tensor& weights, const AttentionInputs& inputs,
                       const ConstTensor& head_parameter, const W& weighting) {
  const ConstHeadsView& q = inputs.q;
  device::parallel_for(q.batch * q.heads * q.time, 1, [&](std::int64_t index, std::int64_t) {
    std::vector<double> z;
    std::vector<double> x;
    const std::int64_t head = index / q.time;
    const Query query =
        query_of(inputs, head_parameter, head / q.heads, head % q.heads, index % q.time, weighting);
    scores(z, x, inputs, query);
    const auto row = solve_row(x, query.head, weighting);
    double* y = weights.data<double>() + index * inputs.k.time;
    for (std::int64_t j = 0; j < inputs.k.time; ++j) y[j] = 0;
    for (std::int64_t j = 0; j < query.keys; ++j) {
      y[query.first + j] = weight_of(row, x[static_cast<std::size_t>(j)], weighting);
    }
  });
}

}  // namespace ssmax::kernels::reference
