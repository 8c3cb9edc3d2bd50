#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/cross_entropy/cross_entropy.h"

namespace ssmax::kernels::plain {

/// One row: returns logsumexp(logits) - logits[target], 0 for an ignored target.
template <class T>
T cross_entropy(const T* logits, std::int32_t target, std::int64_t V) {
  if (target == kIgnoredTarget) return T{};
  const T largest = *std::max_element(logits, logits + V);
  T sum = 0;
  for (std::int64_t v = 0; v < V; ++v) sum += std::exp(logits[v] - largest);
  return largest + std::log(sum) - logits[target];
}

/// One row: logits become scale (softmax(logits) - onehot(target)).
template <class T>
void cross_entropy_gradient(T* logits, std::int32_t target, std::int64_t V, T scale) {
  if (target == kIgnoredTarget) {
    std::fill_n(logits, V, T{});
    return;
  }
  const T largest = *std::max_element(logits, logits + V);
  T sum = 0;
  for (std::int64_t v = 0; v < V; ++v) sum += std::exp(logits[v] - largest);
  for (std::int64_t v = 0; v < V; ++v) {
    const T p = std::exp(logits[v] - largest) / sum;
    logits[v] = scale * (v == target ? p - 1 : p);
  }
}

}  // namespace ssmax::kernels::plain
