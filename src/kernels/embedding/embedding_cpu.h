#pragma once

#include <cstdint>

namespace ssmax::kernels::plain {

// Arrays as in embedding.h: out, dout (B, T, C), tokens (B, T), tables (V, C) and (P, C);
// positions may be null.

template <class T>
void embedding(T* out, const std::int32_t* tokens, const T* table, const T* positions,
               std::int64_t B, std::int64_t time, std::int64_t C, std::int64_t first_position) {
  for (std::int64_t row = 0; row < B * time; ++row) {
    const std::int64_t position = first_position + row % time;
    for (std::int64_t c = 0; c < C; ++c) {
      out[row * C + c] = table[tokens[row] * C + c];
      if (positions != nullptr) out[row * C + c] += positions[position * C + c];
    }
  }
}

template <class T>
void embedding_backward(T* table, T* positions, const std::int32_t* tokens, const T* dout,
                        std::int64_t B, std::int64_t time, std::int64_t C) {
  for (std::int64_t row = 0; row < B * time; ++row) {
    for (std::int64_t c = 0; c < C; ++c) {
      table[tokens[row] * C + c] += dout[row * C + c];
      if (positions != nullptr) positions[row % time * C + c] += dout[row * C + c];
    }
  }
}

}  // namespace ssmax::kernels::plain
