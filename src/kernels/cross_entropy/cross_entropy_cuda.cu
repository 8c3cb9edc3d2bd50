#include "device/warp.cuh"
#include "kernels/cross_entropy/cross_entropy_launch.h"
#include "kernels/dispatch_cuda.cuh"

namespace ssmax::kernels::cuda {

namespace {

/// As many as a block may have: fewer rows at a time, whose second reading finds them in a cache.
constexpr int kThreads = 1024;
/// Blocks of a multiprocessor that registers must leave room for.
constexpr int kBlocks = 2;

/// Sum of e^(x - largest) over what has been seen.
struct Running {
  float largest = -3.402823466e38F;
  float sum = 0.0F;

  template <int kCount>
  __device__ void add(const device::Values<kCount>& x) {
    float top = largest;
#pragma unroll
    for (int j = 0; j < kCount; ++j) top = x[j] > top ? x[j] : top;
    if (top > largest) {
      sum *= expf(largest - top);
      largest = top;
    }
#pragma unroll
    for (int j = 0; j < kCount; ++j) sum += expf(x[j] - largest);
  }
};

/// Which end of a row comes first: what was read last is most likely still in a cache.
enum class Order : std::uint8_t { up, down };

/// Calls one(i) for the elements of the row before the first and behind the last 16-byte boundary,
/// and pack(i) for what lies between, over the threads of the block: rows of an odd vocabulary
/// begin anywhere.
template <Order kOrder, class T, class One, class Packed>
__device__ void for_row(const T* row, std::int64_t V, const One& one, const Packed& pack) {
  constexpr int kPack = device::kPackSize<T>;
  const auto misaligned =
      static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(row) / sizeof(T) % kPack);
  const std::int64_t wanted = (kPack - misaligned) % kPack;
  const std::int64_t head = wanted < V ? wanted : V;
  const std::int64_t packs = (V - head) / kPack;
  const auto thread = static_cast<std::int64_t>(threadIdx.x);
  if (thread < head) one(thread);
  for (std::int64_t i = thread; i < packs; i += kThreads) {
    pack(head + (kOrder == Order::up ? i : packs - 1 - i) * kPack);
  }
  const std::int64_t tail = head + packs * kPack;
  if (thread < V - tail) one(tail + thread);
}

enum class Gradient : std::uint8_t { none, in_place };

/// One block to a row. Every thread keeps a maximum and a sum of its own, of at most V / kThreads
/// terms, so the sum's relative error is below (V / 1024 + 10) 2^-24 and that of its exponentials:
/// 6.5e-6 for 100,000 logits.
template <Gradient kGradient, class T>
__global__ void __launch_bounds__(kThreads, kBlocks)
    cross_entropy_kernel(float* losses, T* logits, const std::int32_t* targets, std::int64_t V,
                         std::int64_t S, double scale) {
  constexpr int kPack = device::kPackSize<T>;
  const std::int64_t m = blockIdx.x;
  T* row = logits + m * S;
  const std::int32_t target = targets[m];
  if (target == kIgnoredTarget) {
    if (threadIdx.x == 0) losses[m] = 0.0F;
    if constexpr (kGradient == Gradient::in_place) {
      for_row<Order::up>(
          row, S, [&](std::int64_t i) { device::store_one(row + i, 0.0F); },
          [&](std::int64_t i) { device::store_values<kPack>(row + i, device::Values<kPack>{}); });
    }
    return;
  }
  Running own;
  for_row<Order::up>(
      row, V, [&](std::int64_t i) { own.add(device::load_values<1>(row + i)); },
      [&](std::int64_t i) { own.add(device::load_values<kPack>(row + i)); });
  const float largest = device::block_max(own.largest);
  const float sum = device::block_sum(own.sum * expf(own.largest - largest));
  const float target_logit = device::load_one(row + target);
  if (threadIdx.x == 0) {
    losses[m] =
        static_cast<float>(log(static_cast<double>(sum)) +
                           (static_cast<double>(largest) - static_cast<double>(target_logit)));
  }
  if constexpr (kGradient == Gradient::in_place) {
    const auto factor = static_cast<float>(scale / static_cast<double>(sum));
    __syncthreads();  // every thread has read the target's logit
    for (std::int64_t i = V + threadIdx.x; i < S; i += kThreads) device::store_one(row + i, 0.0F);
    for_row<Order::down>(
        row, V,
        [&](std::int64_t i) {
          device::store_one(row + i, expf(device::load_one(row + i) - largest) * factor);
        },
        [&](std::int64_t i) {
          auto v = device::load_values<kPack>(row + i);
#pragma unroll
          for (int j = 0; j < kPack; ++j) v[j] = expf(v[j] - largest) * factor;
          device::store_values<kPack>(row + i, v);
        });
    __syncthreads();
    if (threadIdx.x == 0) {
      const double p = exp(static_cast<double>(target_logit) - static_cast<double>(largest)) /
                       static_cast<double>(sum);
      device::store_one(row + target, static_cast<float>((p - 1.0) * scale));
    }
  }
}

}  // namespace

void cross_entropy(Stream& stream, const Tensor& losses, const ConstTensor& logits,
                   const ConstTensor& targets, std::int64_t vocabulary) {
  dispatch(logits.dtype(), "cross_entropy", [&]<class T>(device::Tag<T>) {
    device::launch_kernel<cross_entropy_kernel<Gradient::none, T>>(
        stream, {.grid = device::blocks_for(row_count(logits), 1), .block = kThreads},
        losses.data<float>(), const_cast<T*>(logits.data<T>()), targets.data<std::int32_t>(),
        vocabulary, row_size(logits), 0.0);
  });
}

void cross_entropy_with_gradient(Stream& stream, const Tensor& losses, const Tensor& logits,
                                 const ConstTensor& targets, std::int64_t vocabulary,
                                 double scale) {
  dispatch(logits.dtype(), "cross_entropy", [&]<class T>(device::Tag<T>) {
    device::launch_kernel<cross_entropy_kernel<Gradient::in_place, T>>(
        stream, {.grid = device::blocks_for(row_count(logits), 1), .block = kThreads},
        losses.data<float>(), logits.data<T>(), targets.data<std::int32_t>(), vocabulary,
        row_size(logits), scale);
  });
}

}  // namespace ssmax::kernels::cuda
