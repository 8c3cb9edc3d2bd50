#include "kernels/embedding/embedding_cpu.h"

#include <algorithm>
#include <type_traits>

#include "kernels/elements.h"
#include "kernels/embedding/embedding_launch.h"
#include "kernels/rows.h"

namespace ssmax::kernels::cpu {

namespace {

/// Channels of one task of the backward: every task walks all tokens in order for its own
/// channels, so no two tasks write one element and the order of sums is that of the tokens.
constexpr std::int64_t kChannelsPerTask = 64;

template <class T>
void add_row(T* out, const T* a, const T* b, std::int64_t C) {
#pragma omp simd
  for (std::int64_t c = 0; c < C; ++c) {
    store(out[c], load(a[c]) + load(b[c]));
  }
}

template <class T>
void accumulate(float* sum, const T* row, std::int64_t begin, std::int64_t end) {
#pragma omp simd
  for (std::int64_t c = begin; c < end; ++c) sum[c] += load(row[c]);
}

template <class T>
void forward(T* out, const std::int32_t* tokens, const T* table, const T* positions,
             std::int64_t rows, std::int64_t time, std::int64_t C, std::int64_t first_position) {
  device::parallel_for(rows, rows_per_task(C), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const T* from = table + tokens[row] * C;
      if (positions == nullptr) {
        std::copy_n(from, C, out + row * C);
      } else {
        add_row(out + row * C, from, positions + (first_position + row % time) * C, C);
      }
    }
  });
}

template <class T>
void backward(float* table, float* positions, const std::int32_t* tokens, const T* dout,
              std::int64_t rows, std::int64_t time, std::int64_t C) {
  device::parallel_for(C, kChannelsPerTask, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = 0; row < rows; ++row) {
      accumulate(table + tokens[row] * C, dout + row * C, begin, end);
      if (positions != nullptr) {
        accumulate(positions + row % time * C, dout + row * C, begin, end);
      }
    }
  });
}

}  // namespace

void embedding(Stream& /*stream*/, const Tensor& out, const ConstTensor& tokens,
               const ConstTensor& token_table, const ConstTensor& position_table,
               std::int64_t first_position) {
  const std::int64_t B = tokens.extent(0);
  const std::int64_t time = tokens.extent(1);
  const std::int64_t C = row_size(out);
  const auto* ids = tokens.data<std::int32_t>();
  device::dispatch(out.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* to = out.data<T>();
    const T* table = token_table.data<T>();
    const T* positions = position_table.empty() ? nullptr : position_table.data<T>();
    if constexpr (std::is_same_v<T, double>) {
      plain::embedding(to, ids, table, positions, B, time, C, first_position);
    } else {
      forward(to, ids, table, positions, B * time, time, C, first_position);
    }
  });
}

void embedding_backward(Stream& /*stream*/, const Tensor& token_gradient,
                        const Tensor& position_gradient, const ConstTensor& tokens,
                        const ConstTensor& dout) {
  const std::int64_t B = tokens.extent(0);
  const std::int64_t time = tokens.extent(1);
  const std::int64_t C = row_size(dout);
  const auto* ids = tokens.data<std::int32_t>();
  device::dispatch(dout.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = device::Accumulator<T>;
    A* table = token_gradient.data<A>();
    A* positions = position_gradient.empty() ? nullptr : position_gradient.data<A>();
    const T* g = dout.data<T>();
    if constexpr (std::is_same_v<T, double>) {
      plain::embedding_backward(table, positions, ids, g, B, time, C);
    } else {
      backward(table, positions, ids, g, B * time, time, C);
    }
  });
}

}  // namespace ssmax::kernels::cpu
