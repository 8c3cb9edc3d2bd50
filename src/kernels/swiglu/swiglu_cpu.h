#pragma once

#include <cmath>
#include <cstdint>

namespace ssmax::kernels::plain {

// Arrays as in swiglu.h: out, dout (M, F), gate_up, dgate_up (M, 2 F).

template <class T>
void swiglu(T* out, const T* gate_up, std::int64_t M, std::int64_t F) {
  for (std::int64_t m = 0; m < M; ++m) {
    for (std::int64_t f = 0; f < F; ++f) {
      const T gate = gate_up[m * 2 * F + f];
      out[m * F + f] = gate / (1 + std::exp(-gate)) * gate_up[m * 2 * F + F + f];
    }
  }
}

// silu'(g) = s (1 + g (1 - s)) with s = sigmoid(g).
template <class T>
void swiglu_backward(T* dgate_up, const T* dout, const T* gate_up, std::int64_t M, std::int64_t F) {
  for (std::int64_t m = 0; m < M; ++m) {
    for (std::int64_t f = 0; f < F; ++f) {
      const T gate = gate_up[m * 2 * F + f];
      const T up = gate_up[m * 2 * F + F + f];
      const T s = 1 / (1 + std::exp(-gate));
      dgate_up[m * 2 * F + f] = dout[m * F + f] * up * s * (1 + gate * (1 - s));
      dgate_up[m * 2 * F + F + f] = dout[m * F + f] * gate * s;
    }
  }
}

}  // namespace ssmax::kernels::plain
