#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "normalizers/entmax/entmax.h"
#include "normalizers/learned_length/learned_length.h"
#include "normalizers/log_n/log_n.h"
#include "normalizers/registry.h"
#include "normalizers/self_adjust/self_adjust.h"
#include "normalizers/sink/sink.h"
#include "normalizers/ssmax/ssmax.h"
#include "normalizers/temperature/temperature.h"
#include "support/attention_case.h"

/// Every kind written down once more from its paper's formula, on whole rows, with none of the
/// program's weightings: what the reference in double is compared to.
namespace ssmax::test {

using Row = std::vector<double>;

inline Row naive_softmax(const Row& x, double extra = 0.0) {
  double top = x[0];
  for (const double value : x) top = std::max(top, value);
  double sum = extra == 0.0 ? 0.0 : std::exp(std::log(extra) - top);
  for (const double value : x) sum += std::exp(value - top);
  Row p;
  for (const double value : x) p.push_back(std::exp(value - top) / sum);
  return p;
}

inline Row naive_self_adjust(const Row& x, normalizers::self_adjust::Variant variant) {
  using normalizers::self_adjust::Variant;
  double low = *std::min_element(x.begin(), x.end());
  double high = *std::max_element(x.begin(), x.end());
  if (variant == Variant::normalized) {
    low = std::min(low, 0.0);
    high = std::max(high, 0.0);
  }
  Row w = naive_softmax(x);
  for (std::size_t j = 0; j < x.size(); ++j) {
    if (variant == Variant::plain) w[j] *= x[j];
    if (variant == Variant::shifted) w[j] *= x[j] - low;
    if (variant == Variant::min_max || variant == Variant::normalized) {
      w[j] *= (x[j] - low) / std::max(high - low, 1e-7);
    }
  }
  return w;
}

/// Halves the interval of the threshold 200 times.
inline Row naive_entmax(const Row& x, double alpha) {
  double high = (alpha - 1) * *std::max_element(x.begin(), x.end());
  double low = high - 1;
  Row w(x.size());
  for (int step = 0; step < 200; ++step) {
    const double middle = (low + high) / 2;
    double sum = 0;
    for (std::size_t j = 0; j < x.size(); ++j) {
      w[j] = std::pow(std::max((alpha - 1) * x[j] - middle, 0.0), 1 / (alpha - 1));
      sum += w[j];
    }
    (sum > 1 ? low : high) = middle;
  }
  return w;
}

/// The parameters of one head, by their order in parameters().
struct NaiveHead {
  const std::vector<std::vector<double>>& values;
  std::size_t head;
  std::size_t next = 0;

  double take() { return values[next++][head]; }
};

inline double naive_scale(const kernels::ScaleOptions& options, NaiveHead& head, double n) {
  if (options.kind == kernels::ScaleKind::none) return 1.0;
  const double fixed = options.initial_scale == 0.0 ? 1.0 : options.initial_scale;
  const double s = options.learn_scale ? head.take() : fixed;
  const double b = options.bias ? head.take() : 0.0;
  return s * std::log(n) + b;
}

/// Weights of one row from z = q.k / sqrt(D) and ALiBi's bias; nothing for a kind not known here.
inline std::optional<Row> naive_weights(const std::string& kind, const base::AnySection& section,
                                        const Row& z, const Row& bias, NaiveHead head) {
  namespace all = normalizers;
  const auto n = static_cast<double>(z.size());
  const auto scaled = [&](double c) {
    Row x;
    for (std::size_t j = 0; j < z.size(); ++j) x.push_back(c * z[j] + bias[j]);
    return x;
  };
  if (kind == "softmax") return naive_softmax(scaled(1));
  if (kind == "ssmax") {
    const auto& o = section.get<all::ssmax::Options>();
    return naive_softmax(scaled(naive_scale(
        {kernels::ScaleKind::ssmax, o.learn_scale, o.bias, o.initial_scale, o.initial_bias}, head,
        n)));
  }
  if (kind == "learned_length") {
    const double s = head.take();
    const double b = section.get<all::learned_length::Options>().bias ? head.take() : 0.0;
    return naive_softmax(scaled(s * head.values.back()[z.size() - 1] + b));
  }
  if (kind == "temperature") {
    const auto& o = section.get<all::temperature::Options>();
    const double steps = std::floor((n - 1) / static_cast<double>(o.original_length));
    return naive_softmax(scaled(1 + o.beta * std::log(1 + steps)));
  }
  if (kind == "log_n") {
    const auto length = static_cast<double>(section.get<all::log_n::Options>().train_length);
    return naive_softmax(scaled(n > length ? std::log(n) / std::log(length) : 1));
  }
  if (kind == "self_adjust") {
    const auto& o = section.get<all::self_adjust::Options>();
    return naive_self_adjust(scaled(naive_scale(o.scale, head, n)), o.variant);
  }
  if (kind == "sink") {
    const auto& o = section.get<all::sink::Options>();
    const Row x = scaled(naive_scale(o.scale, head, n));
    return naive_softmax(x, std::exp(o.learned ? head.take() : o.initial_sink));
  }
  if (kind == "sigmoid") {
    Row w = scaled(1);
    for (double& value : w) value = 1 / (1 + std::exp(std::log(n) - value));
    return w;
  }
  if (kind == "softpick") {
    Row w = scaled(1);
    double sum = 0;
    for (double& value : w) {
      value = std::expm1(value);
      sum += std::abs(value);
    }
    for (double& value : w) value = std::max(value, 0.0) / sum;
    return w;
  }
  if (kind == "entmax") return naive_entmax(scaled(1), section.get<all::entmax::Options>().alpha);
  return std::nullopt;
}

/// Weights (B, H, T, S) and outputs (B, T, H, D) of the case, by full matrices.
struct NaiveResult {
  std::vector<double> weights;
  std::vector<double> out;
};

inline std::optional<NaiveResult> naive_attention(const std::string& kind,
                                                  const base::AnySection& section,
                                                  const AttentionCase& c) {
  const AttentionShape& s = c.shape;
  NaiveResult result;
  result.out.assign(c.q.size(), 0.0);
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t h = 0; h < s.heads; ++h) {
      for (std::int64_t t = 0; t < s.time; ++t) {
        const std::int64_t g = h / (s.heads / s.groups);
        const std::size_t query =
            static_cast<std::size_t>(((b * s.time + t) * s.heads + h) * s.head_size);
        const auto pair = [&](std::int64_t key) {
          return static_cast<std::size_t>(((b * s.keys() + key) * s.groups + g) * s.head_size);
        };
        const std::int64_t position = s.first_position + t;
        Row z;
        Row bias;
        for (std::int64_t key = c.first(b, t); key <= position; ++key) {
          double dot = 0;
          for (std::int64_t d = 0; d < s.head_size; ++d) {
            dot += c.q[query + static_cast<std::size_t>(d)] *
                   c.k[pair(key) + static_cast<std::size_t>(d)];
          }
          z.push_back(dot / std::sqrt(static_cast<double>(s.head_size)));
          bias.push_back(c.alibi.empty() ? 0.0
                                         : -c.alibi[static_cast<std::size_t>(h)] *
                                               static_cast<double>(position - key));
        }
        const auto w =
            naive_weights(kind, section, z, bias, {c.parameters, static_cast<std::size_t>(h)});
        if (!w) return std::nullopt;
        for (std::int64_t key = 0; key < s.keys(); ++key) {
          const std::int64_t j = key - c.first(b, t);
          const bool visible = j >= 0 && key <= position;
          result.weights.push_back(visible ? (*w)[static_cast<std::size_t>(j)] : 0.0);
          for (std::int64_t d = 0; d < s.head_size; ++d) {
            result.out[query + static_cast<std::size_t>(d)] +=
                result.weights.back() * c.v[pair(key) + static_cast<std::size_t>(d)];
          }
        }
      }
    }
  }
  return result;
}

}  // namespace ssmax::test
