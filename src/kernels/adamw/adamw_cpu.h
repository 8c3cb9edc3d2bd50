#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/adamw/adamw.h"

namespace ssmax::kernels::plain {

/// Algorithm 2 on [begin, end) of a segment, line by line.
template <class T>
void adamw(T* weights, T* first_moment, T* second_moment, const T* gradients, T gradient_scale,
           std::int64_t begin, std::int64_t end, const AdamwSegment& segment,
           const AdamwConstants& constants) {
  for (std::int64_t i = begin; i < end; ++i) {
    const T g = gradients[i] * gradient_scale;
    T& m = first_moment[i];
    T& v = second_moment[i];
    m = constants.beta1 * m + (1 - constants.beta1) * g;
    v = constants.beta2 * v + (1 - constants.beta2) * g * g;
    const T m_hat = m / segment.bias_correction1;
    const T v_hat = v / segment.bias_correction2;
    weights[i] -= constants.learning_rate *
                  (m_hat / (std::sqrt(v_hat) + constants.eps) + segment.weight_decay * weights[i]);
  }
}

}  // namespace ssmax::kernels::plain
