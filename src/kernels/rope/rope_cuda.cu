#include <vector>

#include "device/parallel.h"
#include "kernels/dispatch_cuda.cuh"
#include "kernels/rope/rope_cpu.h"
#include "kernels/rope/rope_launch.h"

namespace ssmax::kernels::cuda {

namespace {

/// kCount pairs of one head. In a row of `row` elements the first `heads` heads turn.
template <int kCount, class T>
struct Rope {
  T* x;                // (B, T, heads in row, D)
  const float* table;  // (P, D), from the first position on
  std::int64_t time, row, heads, D;
  float direction;

  __device__ void operator()(std::int64_t i) const {
    const std::int64_t per_head = D / 2 / kCount;
    const std::int64_t head_index = i / per_head;
    const std::int64_t m = head_index / heads;  // batch and time
    const std::int64_t pair = (i - head_index * per_head) * kCount;
    const float* cosines = table + m % time * D + pair;
    const auto cosine = device::load_values<kCount>(cosines);
    const auto sine = device::load_values<kCount>(cosines + D / 2);
    T* head = x + m * row + (head_index - m * heads) * D + pair;
    auto a = device::load_values<kCount>(head);
    auto b = device::load_values<kCount>(head + D / 2);
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const float s = sine[j] * direction;
      const float turned = a[j] * cosine[j] - b[j] * s;
      b[j] = b[j] * cosine[j] + a[j] * s;
      a[j] = turned;
    }
    device::store_values<kCount>(head, a);
    device::store_values<kCount>(head + D / 2, b);
  }
};

}  // namespace

// Made on the CPU in double and copied: once for a run, and the same bits as there.
void rope_table(Stream& stream, const Tensor& table, double theta) {
  dispatch(table.dtype(), "rope_table", [](auto) {});
  const std::int64_t D = table.extent(1);
  std::vector<float> values(static_cast<std::size_t>(table.elements()));
  device::parallel_for(table.extent(0), 32, [&](std::int64_t begin, std::int64_t end) {
    plain::rope_table(values.data(), begin, end, D, theta);
  });
  device::copy(stream, table, device::view(values.data(), table.shape()));
}

void rope(Stream& stream, const Tensor& x, const ConstTensor& table, std::int64_t heads,
          std::int64_t first_position, Turn turn) {
  const std::int64_t time = x.extent(1);
  const std::int64_t D = x.extent(3);
  dispatch(x.dtype(), "rope", [&]<class T>(device::Tag<T>) {
    T* data = x.data<T>();
    const float* angles = table.data<float>() + first_position * D;
    const float direction = turn == Turn::forward ? 1.0F : -1.0F;
    dispatch_width<device::kPackSize<T>>({data, angles}, D / 2, [&](auto width) {
      constexpr int kCount = decltype(width)::value;
      const std::int64_t pairs = x.extent(0) * time * heads * (D / 2);
      for_each(stream, pairs / kCount,
               Rope<kCount, T>{data, angles, time, x.extent(2) * D, heads, D, direction});
    });
  });
}

}  // namespace ssmax::kernels::cuda
