#pragma once

#include "device/kernel_launch.cuh"
#include "kernels/attention/row_gradient.h"
#include "kernels/attention/tile_cuda.cuh"

/// Attention by whole rows, for what the fused passes do not take: weightings that must be solved,
/// f32 activations, odd head sizes and alignments, and few queries against many keys. Scores of a
/// chunk of rows lie in memory; chunks are as large as the workspace allows. fp32 throughout.
namespace ssmax::kernels::cuda {

/// Rows that a block of the product kernels takes, all of one head.
inline constexpr int kRowsAtOnce = 8;
inline constexpr int kRowThreads = 128;

/// Rows of a chunk: blocks of kRowsAtOnce queries [first_block, ...) counted over (b, h, t / 8).
/// Buffers of the chunk hold kRowsAtOnce rows per block, `stride` floats apart.
struct RowChunk {
  int first_block;
  int blocks;
  std::int64_t stride;
};

/// The block's queries [t, t + rows) of head h of sequence b.
struct RowBlock {
  int b;
  int h;
  int group;
  int t;
  int rows;

  template <class T>
  __device__ RowBlock(const DeviceInputs<T>& in, int block) {
    const int per_head = (in.time + kRowsAtOnce - 1) / kRowsAtOnce;
    const int head = block / per_head;
    b = head / in.heads;
    h = head % in.heads;
    group = h / in.heads_per_group;
    t = block % per_head * kRowsAtOnce;
    rows = smaller(kRowsAtOnce, in.time - t);
  }
};

template <class T>
__device__ Visible visible_keys(const DeviceInputs<T>& in, int b, int t) {
  const int first = in.first(b, t);
  return {first, in.first_position + t + 1 - first};
}

/// How a thread reads a row: 16 aligned bytes at a time, or by elements.
enum class Loads : unsigned char { packs, elements };

/// What a product of rows with all keys is for.
enum class Product : unsigned char { scores, value_gradients };

/// out (rows of the chunk, S) = x = c tau q.k + bias, or g = dO.v, where visible. One thread a key.
template <Product kProduct, class T>
__global__ void __launch_bounds__(kRowThreads)
    row_product_kernel(const __grid_constant__ DeviceInputs<T> in, const Heads<const T> dout,
                       const RowChunk chunk, const Loads loads, float* out) {
  constexpr bool kScores = kProduct == Product::scores;
  const RowBlock block(in, chunk.first_block + static_cast<int>(blockIdx.x));
  const Heads<const T>& left = kScores ? in.q : dout;
  const Heads<const T>& right = kScores ? in.k : in.v;
  const int size = left.head_size;
  float* rows = device::dynamic_shared<float>();  // (kRowsAtOnce, D)
  for (int i = static_cast<int>(threadIdx.x); i < kRowsAtOnce * size; i += kRowThreads) {
    const int r = i / size;
    rows[i] =
        r < block.rows ? device::load_one(left.at(block.b, block.t + r, block.h) + i % size) : 0.0F;
  }
  __syncthreads();
  const int key = static_cast<int>(blockIdx.y) * kRowThreads + static_cast<int>(threadIdx.x);
  // The last row of the block sees the latest key.
  if (key >= in.first_position + block.t + block.rows) return;
  float sums[kRowsAtOnce] = {};
  const T* element = right.at(block.b, key, block.group);
  const auto add = [&](int d, float value) {
#pragma unroll
    for (int r = 0; r < kRowsAtOnce; ++r) sums[r] = fmaf(rows[r * size + d], value, sums[r]);
  };
  if (loads == Loads::packs) {
    constexpr int kPack = device::kPackSize<T>;
#pragma unroll 1
    for (int d = 0; d < size; d += kPack) {
      const auto pack = device::load_pack(element + d);
#pragma unroll
      for (int i = 0; i < kPack; ++i) add(d + i, pack[i]);
    }
  } else {
#pragma unroll 1
    for (int d = 0; d < size; ++d) add(d, device::load_one(element + d));
  }
#pragma unroll
  for (int r = 0; r < kRowsAtOnce; ++r) {
    const Visible visible = r < block.rows ? visible_keys(in, block.b, block.t + r) : Visible{};
    if (visible(key)) {
      float value = sums[r];
      if constexpr (kScores) {
        value *= in.row_scale[in.row(block.b, block.h, block.t + r)] * in.tau;
        value -= in.slope(block.h) * static_cast<float>(visible.last() - key);
      }
      out[(static_cast<std::int64_t>(blockIdx.x) * kRowsAtOnce + r) * chunk.stride + key] = value;
    }
  }
}

/// The part of a row that a block sees, for weightings that solve it; all threads ask together.
struct BlockRow {
  const float* x;
  int n;

  __device__ float max() const {
    float most = -std::numeric_limits<float>::infinity();
    for (int j = static_cast<int>(threadIdx.x); j < n; j += kRowThreads) {
      most = device::Maximum::apply(most, x[j]);
    }
    return device::block_max(most);
  }
  template <class Part>
  __device__ float sum(const Part& part) const {
    float total = 0.0F;
    for (int j = static_cast<int>(threadIdx.x); j < n; j += kRowThreads) total += part(x[j]);
    return device::block_sum(total);
  }
};

/// The first key that has the row's largest value (of x times sign).
struct FirstEnd {
  float value;
  int key;
};

__device__ inline FirstEnd first_end(const BlockRow& row, float sign) {
  FirstEnd end{-std::numeric_limits<float>::infinity(), row.n};
  for (int j = static_cast<int>(threadIdx.x); j < row.n; j += kRowThreads) {
    if (sign * row.x[j] > end.value) end = {sign * row.x[j], j};
  }
  const float value = device::block_max(end.value);
  const int key = -device::block_max(end.value == value ? -end.key : -row.n);
  return {sign * value, key};
}

template <Weighting W>
__device__ RowOf<W, float> solve_block_row(const BlockRow& whole, float head, const W& weighting) {
  if constexpr (SolvingWeighting<W>) {
    return weighting.solve(whole);
  } else {
    RowStatistic<float> statistic;
    if constexpr (W::kNeeds == RowNeeds::extremes) {
      const FirstEnd low = first_end(whole, -1.0F);
      statistic.min = low.value;
      statistic.argmin = low.key;
    }
    if constexpr (W::kNeeds != RowNeeds::nothing) {
      const FirstEnd top = first_end(whole, 1.0F);
      statistic.max = fmaxf(top.value, W::template lowest_max<float>());
      statistic.argmax = top.key;
      const float origin = std::exp(-statistic.max);
      statistic.sum =
          whole.sum([&](float x) { return W::term(x, std::exp(x - statistic.max), origin); });
    }
    return weighting.finish(statistic, head, whole.n);
  }
}

template <Weighting W>
__device__ float weight_of(const RowOf<W, float>& row, float x, const W& weighting) {
  if constexpr (SolvingWeighting<W>) {
    return weighting.weight(row, x);
  } else {
    return weighting.weight(row, x, std::exp(exponent<W>(row, x)));
  }
}

/// Whether keys that are not visible become 0 or are left alone.
enum class Unseen : unsigned char { leave, zero };

/// x becomes the weights; the row is saved. One block a row.
template <class T, Weighting W>
__global__ void __launch_bounds__(kRowThreads)
    row_weights_kernel(const __grid_constant__ DeviceInputs<T> in, const RowChunk chunk, float* x,
                       float* saved, const Unseen unseen, const W weighting) {
  const int slot = static_cast<int>(blockIdx.x);
  const RowBlock block(in, chunk.first_block + slot / kRowsAtOnce);
  const int r = slot % kRowsAtOnce;
  if (r >= block.rows) return;
  const Visible visible = visible_keys(in, block.b, block.t + r);
  float* row_x = x + slot * chunk.stride;
  const BlockRow whole{row_x + visible.first, visible.count};
  const auto row = solve_block_row(whole, in.head(block.h, weighting), weighting);
  if (saved != nullptr && threadIdx.x == 0) {
    weighting.save(row, saved + in.row(block.b, block.h, block.t + r) * W::kRowValues);
  }
  __syncthreads();  // x is read in the sums above
  const int thread = static_cast<int>(threadIdx.x);
  for (int key = visible.first + thread; key <= visible.last(); key += kRowThreads) {
    row_x[key] = weight_of(row, row_x[key], weighting);
  }
  if (unseen == Unseen::leave) return;
  for (int key = thread; key < visible.first; key += kRowThreads) row_x[key] = 0.0F;
  for (int key = visible.last() + 1 + thread; key < in.keys; key += kRowThreads) {
    row_x[key] = 0.0F;
  }
}

/// The rows of a chunk to their places in (B, H, T, S). One block a row.
template <class T>
__global__ void __launch_bounds__(kRowThreads)
    row_copy_kernel(const __grid_constant__ DeviceInputs<T> in, const RowChunk chunk,
                    const float* x, float* to) {
  const int slot = static_cast<int>(blockIdx.x);
  const RowBlock block(in, chunk.first_block + slot / kRowsAtOnce);
  const int r = slot % kRowsAtOnce;
  if (r >= block.rows) return;
  const float* from = x + slot * chunk.stride;
  float* row = to + in.row(block.b, block.h, block.t + r) * in.keys;
  for (int key = static_cast<int>(threadIdx.x); key < in.keys; key += kRowThreads) {
    row[key] = from[key];
  }
}

/// A row of the backward, of which every thread has some keys.
template <Weighting W>
class BlockKeys {
 public:
  __device__ BlockKeys(float* x, float* g, int n) : x_(x), g_(g), n_(n) {}

  __device__ float exponentiate(const RowOf<W, float>& row) {
    row_ = row;
    if constexpr (!ProbabilityWeighting<W>) return 0.0F;
    return sum([](float /*x*/, float /*g*/, float e) { return e; });
  }
  __device__ RowEnd take_end(std::int64_t key) {
    if (key < 0 || key >= n_) return {};
    const float x = x_[key];
    // An end that is taken already has nothing left.
    const RowEnd end{key, x, g_[key], is_taken(static_cast<int>(key)) ? 0.0F : e(x)};
    (taken_[0] < 0 ? taken_[0] : taken_[1]) = static_cast<int>(key);
    return end;
  }
  template <class Part>
  __device__ float sum(const Part& part) const {
    float sum = 0.0F;
    for_each([&](int j) { sum += part(x_[j], g_[j], e(x_[j])); });
    return device::block_sum(sum);
  }
  template <class Part>
  __device__ PairOfSums sums(const Part& part) const {
    PairOfSums sums{};
    for_each([&](int j) {
      const PairOfSums parts = part(x_[j], g_[j], e(x_[j]));
      sums.first += parts.first;
      sums.second += parts.second;
    });
    return {device::block_sum(sums.first), device::block_sum(sums.second)};
  }
  template <class Change>
  __device__ float replace(const Change& change) {
    float frozen = 0.0F;
    for_each([&](int j) {
      const KeyGradient key = change(x_[j], g_[j], e(x_[j]));
      frozen += key.frozen;
      x_[j] = key.weight;
      g_[j] = key.dx;
    });
    if constexpr (!ScaleFreeWeighting<W>) return 0.0F;
    return device::block_sum(frozen);
  }
  __device__ void put(const RowEnd& end, float weight, float dx) {
    if (threadIdx.x != 0) return;
    x_[end.key] = weight;
    g_[end.key] = dx;
  }

 private:
  __device__ float e(float x) const {
    if constexpr (SolvingWeighting<W>)
      return 0.0F;
    else
      return std::exp(exponent<W>(row_, x));
  }
  __device__ bool is_taken(int key) const { return key == taken_[0] || key == taken_[1]; }
  template <class Work>
  __device__ void for_each(const Work& work) const {
    for (int j = static_cast<int>(threadIdx.x); j < n_; j += kRowThreads) {
      if constexpr (fixes_extremes()) {
        if (is_taken(j)) continue;
      }
      work(j);
    }
  }
  __device__ static constexpr bool fixes_extremes() {
    if constexpr (MonoidWeighting<W>) return W::kFixesExtremes;
    return false;
  }

  float* x_;
  float* g_;
  int n_;
  RowOf<W, float> row_{};
  int taken_[2] = {-1, -1};
};

/// x becomes the weights and g the gradients of x; D of every row, and dc where `drow_scale` is
/// given and c is not 0. One block a row.
template <class T, Weighting W>
__global__ void __launch_bounds__(kRowThreads)
    row_gradients_kernel(const __grid_constant__ DeviceInputs<T> in, const RowChunk chunk, float* x,
                         float* g, const float* saved, float* d_rows, float* drow_scale,
                         const W weighting) {
  const int slot = static_cast<int>(blockIdx.x);
  const RowBlock block(in, chunk.first_block + slot / kRowsAtOnce);
  const int r = slot % kRowsAtOnce;
  if (r >= block.rows) return;
  const Visible visible = visible_keys(in, block.b, block.t + r);
  const std::int64_t index = in.row(block.b, block.h, block.t + r);
  const std::int64_t first = slot * chunk.stride + visible.first;
  BlockKeys<W> keys(x + first, g + first, visible.count);
  const auto row = weighting.load(saved + index * W::kRowValues, visible.count);
  const auto totals = differentiate_keys(keys, row, in.head(block.h, weighting), weighting);
  if (threadIdx.x != 0) return;
  d_rows[index] = totals.d;
  if constexpr (ScaleFreeWeighting<W>) {
    if (drow_scale != nullptr && in.row_scale[index] != 0.0F) {
      drow_scale[index] = totals.frozen / in.row_scale[index];
    }
  }
}

/// Threads along D and parts along the summed axis: part p takes every parts-th of it.
struct Columns {
  int width;  // D up to whole warps
  int parts;
  int d;
  int part;

  __device__ explicit Columns(int size)
      : width((size + 31) / 32 * 32),
        parts(larger(1, kRowThreads * 2 / width)),
        d(static_cast<int>(threadIdx.x) % width),
        part(static_cast<int>(threadIdx.x) / width) {}
};
inline constexpr int kColumnThreads = 2 * kRowThreads;

/// Sums over parts of kRowsAtOnce values of each thread, in order; thread (d, part 0) has them.
__device__ inline void add_parts(float (&sums)[kRowsAtOnce], const Columns& at, float* shared) {
  __syncthreads();
  for (int part = 1; part < at.parts; ++part) {
    if (at.part == part) {
#pragma unroll
      for (int r = 0; r < kRowsAtOnce; ++r) shared[r * at.width + at.d] = sums[r];
    }
    __syncthreads();
    if (at.part == 0) {
#pragma unroll
      for (int r = 0; r < kRowsAtOnce; ++r) sums[r] += shared[r * at.width + at.d];
    }
    __syncthreads();
  }
}

inline std::int64_t column_shared_bytes(std::int64_t head_size) {
  const std::int64_t width = (head_size + 31) / 32 * 32;
  return kRowsAtOnce * std::max<std::int64_t>(width, kColumnThreads) *
         static_cast<std::int64_t>(sizeof(float));
}

/// A cut of the keys, so that few rows still fill the machine.
struct KeySplits {
  int keys;  // of one split
  int count;
};

/// partial (rows of the chunk, splits, D) = sum over the split's keys of y times v (or k).
template <class T>
__global__ void __launch_bounds__(kColumnThreads)
    row_gather_kernel(const __grid_constant__ DeviceInputs<T> in, const Heads<const T> from,
                      const RowChunk chunk, const float* y, const KeySplits splits,
                      float* partial) {
  const RowBlock block(in, chunk.first_block + static_cast<int>(blockIdx.x));
  const int split = static_cast<int>(blockIdx.y);
  const int begin = split * splits.keys;
  const int end = smaller(begin + splits.keys, in.first_position + block.t + block.rows);
  const Columns at(from.head_size);
  float* shared = device::dynamic_shared<float>();  // weights (kRowsAtOnce, kColumnThreads)
  float sums[kRowsAtOnce] = {};
  const std::int64_t first_slot = static_cast<std::int64_t>(blockIdx.x) * kRowsAtOnce;
  for (int base = begin; base < end; base += kColumnThreads) {
    __syncthreads();
    const int own = base + static_cast<int>(threadIdx.x);
#pragma unroll
    for (int r = 0; r < kRowsAtOnce; ++r) {
      const bool seen = r < block.rows && own < end && visible_keys(in, block.b, block.t + r)(own);
      shared[r * kColumnThreads + threadIdx.x] =
          seen ? y[(first_slot + r) * chunk.stride + own] : 0.0F;
    }
    __syncthreads();
    if (at.part < at.parts && at.d < from.head_size) {
      const int count = smaller(kColumnThreads, end - base);
      for (int j = at.part; j < count; j += at.parts) {
        const float value = device::load_one(from.at(block.b, base + j, block.group) + at.d);
#pragma unroll
        for (int r = 0; r < kRowsAtOnce; ++r) {
          sums[r] = fmaf(shared[r * kColumnThreads + j], value, sums[r]);
        }
      }
    }
  }
  add_parts(sums, at, shared);
  if (at.part != 0 || at.d >= from.head_size) return;
  for (int r = 0; r < block.rows; ++r) {
    partial[((first_slot + r) * splits.count + split) * from.head_size + at.d] = sums[r];
  }
}

/// Whether dc of rows with a scale is there already, or is q.dq'.
enum class ScaleGradient : unsigned char { is_there, of_queries };

/// out = the sum over splits; or dq = c times it and dc = q times it, both with tau. One warp a
/// row.
template <class T>
__global__ void __launch_bounds__(kRowThreads)
    row_finish_kernel(const __grid_constant__ DeviceInputs<T> in, const Heads<T> out,
                      const RowChunk chunk, const KeySplits splits, const float* partial,
                      float* drow_scale, const ScaleGradient gradient) {
  const int slot = static_cast<int>(blockIdx.x) * (kRowThreads / 32) + device::warp_id();
  if (slot >= chunk.blocks * kRowsAtOnce) return;
  const RowBlock block(in, chunk.first_block + slot / kRowsAtOnce);
  const int r = slot % kRowsAtOnce;
  if (r >= block.rows) return;
  const std::int64_t index = in.row(block.b, block.h, block.t + r);
  const float scale = drow_scale == nullptr ? 1.0F : in.row_scale[index] * in.tau;
  const int used = (in.first_position + block.t + block.rows + splits.keys - 1) / splits.keys;
  T* to = out.at(block.b, block.t + r, block.h);
  const T* q = in.q.at(block.b, block.t + r, block.h);
  float dot = 0.0F;
  for (int d = device::lane_id(); d < out.head_size; d += 32) {
    float sum = 0.0F;
    for (int split = 0; split < used; ++split) {
      sum += partial[(static_cast<std::int64_t>(slot) * splits.count + split) * out.head_size + d];
    }
    dot += sum * device::load_one(q + d);
    device::store_one(to + d, sum * scale);
  }
  if (drow_scale == nullptr) return;
  if (gradient == ScaleGradient::is_there && in.row_scale[index] != 0.0F) return;
  dot = device::warp_sum(dot);
  if (device::lane_id() == 0) drow_scale[index] = dot * in.tau;
}

/// to (B, S, G, D) += sum over the chunk's rows of y times dO, or of c tau g times q: kRowsAtOnce
/// keys of one head a block, rows in their order.
template <Product kProduct, class T>
__global__ void __launch_bounds__(kColumnThreads)
    row_scatter_kernel(const __grid_constant__ DeviceInputs<T> in, const Heads<const T> dout,
                       const RowChunk chunk, const float* weights, float* to) {
  const Heads<const T>& from = kProduct == Product::scores ? in.q : dout;
  const int groups = in.heads / in.heads_per_group;
  const int b = static_cast<int>(blockIdx.x) / groups;
  const int group = static_cast<int>(blockIdx.x) % groups;
  const int key = static_cast<int>(blockIdx.y) * kRowsAtOnce;
  const int per_head = (in.time + kRowsAtOnce - 1) / kRowsAtOnce;
  const Columns at(from.head_size);
  float* shared = device::dynamic_shared<float>();  // weights (kRowsAtOnce keys, kColumnThreads)
  float sums[kRowsAtOnce] = {};
  bool any = false;  // of the chunk's rows see the keys; the same for all of the block
  for (int i = 0; i < in.heads_per_group; ++i) {
    const int h = group * in.heads_per_group + i;
    const int head_block = (b * in.heads + h) * per_head;
    // Queries of this head that lie in the chunk and can see the first of the keys.
    const int begin =
        larger(larger(chunk.first_block - head_block, 0) * kRowsAtOnce, key - in.first_position);
    const int end = smaller((chunk.first_block + chunk.blocks - head_block) * kRowsAtOnce, in.time);
    const std::int64_t first_slot =
        static_cast<std::int64_t>(head_block - chunk.first_block) * kRowsAtOnce;
    any = any || begin < end;
    for (int base = begin; base < end; base += kColumnThreads) {
      __syncthreads();
      const int own = base + static_cast<int>(threadIdx.x);
      const Visible visible = own < end ? visible_keys(in, b, own) : Visible{};
      const float scale = kProduct == Product::scores && own < end
                              ? in.row_scale[in.row(b, h, own)] * in.tau
                              : 1.0F;
#pragma unroll
      for (int r = 0; r < kRowsAtOnce; ++r) {
        shared[r * kColumnThreads + threadIdx.x] =
            visible(key + r) ? weights[(first_slot + own) * chunk.stride + key + r] * scale : 0.0F;
      }
      __syncthreads();
      if (at.part < at.parts && at.d < from.head_size) {
        const int count = smaller(kColumnThreads, end - base);
        for (int t = at.part; t < count; t += at.parts) {
          const float value = device::load_one(from.at(b, base + t, h) + at.d);
#pragma unroll
          for (int r = 0; r < kRowsAtOnce; ++r) {
            sums[r] = fmaf(shared[r * kColumnThreads + t], value, sums[r]);
          }
        }
      }
    }
  }
  if (!any) return;  // with many chunks most are of other heads
  add_parts(sums, at, shared);
  if (at.part != 0 || at.d >= from.head_size) return;
  for (int r = 0; r < smaller(kRowsAtOnce, in.keys - key); ++r) {
    to[((static_cast<std::int64_t>(b) * in.keys + key + r) * groups + group) * from.head_size +
       at.d] += sums[r];
  }
}

/// to = from (B, S, G, D), in T.
template <class T>
__global__ void __launch_bounds__(kRowThreads)
    row_store_kernel(const Heads<T> to, const float* from, const int keys, const int groups,
                     const std::int64_t count) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kRowThreads + threadIdx.x;
  if (i >= count) return;
  const auto d = static_cast<int>(i % to.head_size);
  const std::int64_t head = i / to.head_size;
  const std::int64_t row = head / groups;
  device::store_one(to.at(static_cast<int>(row / keys), static_cast<int>(row % keys),
                          static_cast<int>(head % groups)) +
                        d,
                    from[i]);
}

}  // namespace ssmax::kernels::cuda
