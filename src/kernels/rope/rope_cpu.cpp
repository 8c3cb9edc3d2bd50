#include "kernels/rope/rope_cpu.h"

#include "kernels/rope/rope_launch.h"
#include "kernels/rows.h"

namespace ssmax::kernels::cpu {

void rope_table(Stream& /*stream*/, const Tensor& table, double theta) {
  const std::int64_t D = table.extent(1);
  device::dispatch(table.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* to = table.data<T>();
    // A row costs D / 2 powers, cosines and sines: far more than an element of other ops.
    device::parallel_for(table.extent(0), 32, [&](std::int64_t begin, std::int64_t end) {
      plain::rope_table(to, begin, end, D, theta);
    });
  });
}

void rope(Stream& /*stream*/, const Tensor& x, const ConstTensor& table, std::int64_t heads,
          std::int64_t first_position, Turn turn) {
  const std::int64_t time = x.extent(1);
  const std::int64_t row = x.extent(2) * x.extent(3);
  const std::int64_t D = x.extent(3);
  device::dispatch(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = device::Accumulator<T>;
    T* data = x.data<T>();
    const A* angles = table.data<A>();
    const A direction = turn == Turn::forward ? A{1} : A{-1};
    device::parallel_for(
        x.extent(0) * time, rows_per_task(heads * D), [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t m = begin; m < end; ++m) {
            const A* cosine = angles + (first_position + m % time) * D;
            for (std::int64_t h = 0; h < heads; ++h) {
              plain::rope_head(data + m * row + h * D, cosine, cosine + D / 2, D / 2, direction);
            }
          }
        });
  });
}

}  // namespace ssmax::kernels::cpu
