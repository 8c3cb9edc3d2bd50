#include <bit>

#include "device/shared_memory.cuh"
#include "device/workspace_cuda.h"
#include "kernels/dispatch_cuda.cuh"
#include "kernels/embedding/embedding_launch.h"

namespace ssmax::kernels::cuda {

namespace {

template <int kCount, class T>
struct Embedding {
  T* out;                      // (rows, C)
  const std::int32_t* tokens;  // (rows)
  const T* table;              // (V, C)
  const T* positions;          // (P, C) from the first position on, or null
  std::int64_t time, C;

  __device__ void operator()(std::int64_t i) const {
    const std::int64_t row = i * kCount / C;
    const std::int64_t c = i * kCount - row * C;
    auto v = device::load_values<kCount>(table + tokens[row] * C + c);
    if (positions != nullptr) {
      const auto p = device::load_values<kCount>(positions + row % time * C + c);
#pragma unroll
      for (int j = 0; j < kCount; ++j) v[j] += p[j];
    }
    device::store_values<kCount>(out + i * kCount, v);
  }
};

// The backward sorts (token, place) pairs, so that every token's rows stand together in ascending
// place and one block adds them in that order. A bitonic sort: keys are distinct, so its result is
// one and the same whatever the order of the blocks.

using Key = std::uint64_t;  // token above, place below
constexpr Key kBehindAll = ~Key{0};
constexpr int kSortThreads = 512;
constexpr int kKeysOfBlock = 2 * kSortThreads;

__device__ void order(Key& a, Key& b, bool ascending) {
  if ((a > b) == ascending) {
    const Key before = a;
    a = b;
    b = before;
  }
}

__global__ void make_keys_kernel(Key* keys, const std::int32_t* tokens, std::int64_t rows,
                                 std::int64_t count) {
  const std::int64_t i = global_thread();
  if (i >= count) return;
  keys[i] = i < rows ? static_cast<Key>(tokens[i]) << 32 | static_cast<Key>(i) : kBehindAll;
}

/// One exchange of a bitonic merge of `size` keys, partners `distance` apart. A thread to a pair.
__global__ void exchange_kernel(Key* keys, std::int64_t size, std::int64_t distance) {
  const std::int64_t pair = global_thread();
  const std::int64_t low = pair / distance * 2 * distance + pair % distance;
  order(keys[low], keys[low + distance], (low & size) == 0);
}

struct SortTile {
  Key keys[kKeysOfBlock];
};

/// All exchanges of merges of first_size to last_size keys (powers of two) with partners in one
/// block's keys.
__global__ void __launch_bounds__(kSortThreads)
    exchange_in_block_kernel(Key* keys, std::int64_t first_size, std::int64_t last_size,
                             std::int64_t count) {
  auto& tile = device::static_shared<SortTile>();
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kKeysOfBlock;
  for (int i = static_cast<int>(threadIdx.x); i < kKeysOfBlock; i += kSortThreads) {
    tile.keys[i] = begin + i < count ? keys[begin + i] : kBehindAll;
  }
  __syncthreads();
  for (std::int64_t size = first_size; size <= last_size; size *= 2) {
    const std::int64_t largest = kKeysOfBlock / 2;
    for (std::int64_t distance = size / 2 < largest ? size / 2 : largest; distance > 0;
         distance /= 2) {
      const auto pair = static_cast<std::int64_t>(threadIdx.x);
      const std::int64_t low = pair / distance * 2 * distance + pair % distance;
      order(tile.keys[low], tile.keys[low + distance], ((begin + low) & size) == 0);
      __syncthreads();
    }
  }
  for (int i = static_cast<int>(threadIdx.x); i < kKeysOfBlock; i += kSortThreads) {
    if (begin + i < count) keys[begin + i] = tile.keys[i];
  }
}

/// `count` is a power of two.
void sort(Stream& stream, Key* keys, std::int64_t count) {
  const auto in_blocks = [&](std::int64_t first_size, std::int64_t last_size) {
    device::launch_kernel<exchange_in_block_kernel>(
        stream, {.grid = device::blocks_for(count, kKeysOfBlock), .block = kSortThreads}, keys,
        first_size, last_size, count);
  };
  in_blocks(2, kKeysOfBlock);
  for (std::int64_t size = 2 * kKeysOfBlock; size <= count; size *= 2) {
    for (std::int64_t distance = size / 2; distance >= kKeysOfBlock; distance /= 2) {
      device::launch_kernel<exchange_kernel>(
          stream, {.grid = device::blocks_for(count / 2, kSortThreads), .block = kSortThreads},
          keys, size, distance);
    }
    in_blocks(size, size);
  }
}

constexpr int kGatherThreads = 64;

/// Rows that are on their way at a time: one after the other, each would wait for the memory.
constexpr int kRowsAhead = 8;

/// Block (i, j): when the i-th key is the first of its token, adds the rows of that token to it,
/// for the j-th part of the channels.
template <int kCount, class T>
__global__ void add_rows_kernel(float* table, const Key* keys, const T* dout, std::int64_t rows,
                                std::int64_t C) {
  const std::int64_t first = blockIdx.x;
  const auto token = static_cast<std::int64_t>(keys[first] >> 32);
  const auto is_token = [&](Key key) { return static_cast<std::int64_t>(key >> 32) == token; };
  if (first > 0 && is_token(keys[first - 1])) return;
  const std::int64_t c =
      (static_cast<std::int64_t>(blockIdx.y) * kGatherThreads + threadIdx.x) * kCount;
  if (c >= C) return;
  auto sum = device::load_values<kCount>(table + token * C + c);
  bool more = true;
  for (std::int64_t i = first; more; i += kRowsAhead) {
    device::Values<kCount> values[kRowsAhead] = {};
#pragma unroll
    for (int r = 0; r < kRowsAhead; ++r) {
      more = i + r < rows && is_token(keys[i + r]);
      if (!more) continue;
      const auto place = static_cast<std::int64_t>(keys[i + r] & 0xffffffffU);
      values[r] = device::load_values<kCount>(dout + place * C + c);
    }
#pragma unroll
    for (int r = 0; r < kRowsAhead; ++r) {
#pragma unroll
      for (int j = 0; j < kCount; ++j) sum[j] += values[r][j];
    }
  }
  device::store_values<kCount>(table + token * C + c, sum);
}

template <int kCount, class T>
struct PositionGradient {
  float* positions;  // (P, C)
  const T* dout;     // (B, T, C)
  std::int64_t B, row_elements;

  /// kCount elements of (T, C).
  __device__ void operator()(std::int64_t i) const {
    auto sum = device::load_values<kCount>(positions + i * kCount);
    for (std::int64_t b = 0; b < B; ++b) {
      const auto v = device::load_values<kCount>(dout + b * row_elements + i * kCount);
#pragma unroll
      for (int j = 0; j < kCount; ++j) sum[j] += v[j];
    }
    device::store_values<kCount>(positions + i * kCount, sum);
  }
};

}  // namespace

void embedding(Stream& stream, const Tensor& out, const ConstTensor& tokens,
               const ConstTensor& token_table, const ConstTensor& position_table,
               std::int64_t first_position) {
  const std::int64_t C = row_size(out);
  dispatch(out.dtype(), "embedding", [&]<class T>(device::Tag<T>) {
    T* to = out.data<T>();
    const T* table = token_table.data<T>();
    const T* positions =
        position_table.empty() ? nullptr : position_table.data<T>() + first_position * C;
    dispatch_width<device::kPackSize<T>>({to, table, positions}, C, [&](auto width) {
      constexpr int kCount = decltype(width)::value;
      for_each(stream, out.elements() / kCount,
               Embedding<kCount, T>{to, tokens.data<std::int32_t>(), table, positions,
                                    tokens.extent(1), C});
    });
  });
}

void embedding_backward(Stream& stream, const Tensor& token_gradient,
                        const Tensor& position_gradient, const ConstTensor& tokens,
                        const ConstTensor& dout) {
  const std::int64_t C = row_size(dout);
  const std::int64_t rows = tokens.elements();
  const auto count = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(rows)));
  auto* keys = static_cast<Key*>(
      device::cuda::workspace(stream, count * static_cast<std::int64_t>(sizeof(Key))));
  device::launch_kernel<make_keys_kernel>(
      stream, {.grid = device::blocks_for(count, kElementThreads), .block = kElementThreads}, keys,
      tokens.data<std::int32_t>(), rows, count);
  sort(stream, keys, count);
  dispatch(dout.dtype(), "embedding_backward", [&]<class T>(device::Tag<T>) {
    float* table = token_gradient.data<float>();
    float* positions = position_gradient.empty() ? nullptr : position_gradient.data<float>();
    const T* d = dout.data<T>();
    dispatch_width<4>({table, positions, d}, C, [&](auto width) {
      constexpr int kCount = decltype(width)::value;
      dim3 grid = device::blocks_for(rows, 1);
      grid.y = base::narrow<unsigned>(base::div_up(C, kGatherThreads * kCount));
      device::launch_kernel<add_rows_kernel<kCount, T>>(
          stream, {.grid = grid, .block = kGatherThreads}, table, keys, d, rows, C);
      if (positions == nullptr) return;
      const std::int64_t row_elements = tokens.extent(1) * C;
      for_each(stream, row_elements / kCount,
               PositionGradient<kCount, T>{positions, d, tokens.extent(0), row_elements});
    });
  });
}

}  // namespace ssmax::kernels::cuda
