#pragma once

#include "kernels/attention/forward_rows_cuda.cuh"
#include "kernels/attention/pass_cuda.cuh"

/// The fused forward: a block owns 128 queries of one head and passes over the keys that they can
/// see. Keys and values of a tile are each loaded while the matrix units work on the other.
namespace ssmax::kernels::cuda {

template <int kHeadSize, int kKeyTile>
struct ForwardShape {
  static constexpr int kD = kHeadSize;
  static constexpr int kM = 2;
  static constexpr int kWarps = 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kQueries = 16 * kM * kWarps;
  static constexpr int kKeys = kKeyTile;
  static constexpr int kUnroll = kHeadSize * kKeyTile > 64 * 64 ? 1 : kHeadSize / 16;
};

/// The widest tiles that spill no registers.
template <Weighting W, int kHeadSize>
using ForwardShapeOf = ForwardShape<kHeadSize, ExponentialWeighting<W> ? 64 : 32>;

template <MonoidWeighting W, class Shape>
class ForwardPass : ForwardRows<W, Shape> {
  using Base = ForwardRows<W, Shape>;
  using Base::a_;
  using Base::first_keys_;
  using Base::kD;
  using Base::kKeys;
  using Base::kM;
  using Base::o_;
  using Base::s_;
  using Base::tile_;
  using Base::warp_row_;

  static constexpr std::int64_t kTileBytes =
      (Shape::kQueries + 2 * kKeys) * kD * static_cast<std::int64_t>(sizeof(Bf16));

 public:
  static constexpr int kThreads = Shape::kThreads;
  static constexpr int kLeastBlocks = 0;
  using typename Base::Arguments;

  static constexpr std::int64_t shared_bytes() { return kTileBytes + Base::rows_bytes(); }

  __device__ explicit ForwardPass(const Arguments& arguments)
      : Base(arguments, device::dynamic_shared<unsigned char>() + kTileBytes,
             device::warp_id() * 16 * kM),
        q_{device::dynamic_shared<Bf16>()},
        keys_{q_.data + Shape::kQueries * kD},
        values_{keys_.data + kKeys * kD} {}

  __device__ void run() {
    if (static_cast<int>(threadIdx.x) < Shape::kQueries) {
      this->prepare_row(static_cast<int>(threadIdx.x));
    }
    __syncthreads();
    if (device::warp_id() == 0) this->find_first_keys();
    using Queries = TileSource<Shape::kQueries, Shape::kThreads, kD>;
    Queries(a_.in.q, tile_.b, tile_.h, tile_.t + tile_.rows).load(q_, tile_.t);
    device::copy_async_commit();
    __syncthreads();
    if constexpr (OnePassWeighting<W>) flip_queries();
    if constexpr (W::kNeeds != RowNeeds::nothing && !OnePassWeighting<W>) find_rows();
    pass();
    this->store(q_);
  }

 private:
  __device__ void flip_queries() {
    device::copy_async_wait<0>();
    __syncthreads();
    const int r = static_cast<int>(threadIdx.x);
    if (r < Shape::kQueries && this->flips(r)) {
      for (int c = 0; c < kD / 8; ++c) {
        Base::flip(*reinterpret_cast<uint4*>(q_.chunk(r, c)));
      }
    }
    __syncwarp();  // a warp's threads have flipped its own rows
  }

  using Source = TileSource<kKeys, Shape::kThreads, kD>;
  using SharedQueries = SharedRows<kM, kD>;
  using QueryRows =
      std::conditional_t<kD == 64 && OnePassWeighting<W>, HeldRows<kM, kD>, SharedQueries>;

  __device__ SharedQueries shared_queries() const { return {q_, warp_row_}; }

  __device__ Source source(const Heads<const Bf16>& heads) const {
    return {heads, tile_.b, tile_.group(a_.in), tile_.end_key(a_.in)};
  }
  __device__ static void load(Tile<kD> to, const Source& from, int key) {
    from.load(to, key);
    device::copy_async_commit();
  }

  /// For every tile of keys: scores, weights, their part of the output.
  __device__ void pass() {
    const int end = tile_.end_key(a_.in);
    const Source keys = source(a_.in.k);
    const Source values = source(a_.in.v);
    const QueryRows queries(shared_queries());
    const int last = device::uniform_warp_id() * 16 * kM + 16 * kM - 1;
    this->begin();
    LeftOperands<kM, kKeys> p;
    int key = first_keys_.least;
    load(keys_, keys, key);
    for (; key < end; key += kKeys) {
      device::copy_async_wait<0>();
      __syncthreads();  // keys are there; nobody reads the values of the tile before
      load(values_, values, key);
      multiply_rows<Shape::kUnroll>(s_, queries, keys_);
      device::copy_async_wait<0>();
      __syncthreads();  // values are there; nobody reads these keys any more
      if (key + kKeys < end) load(keys_, keys, key + kKeys);
      if (!tile_.sees(a_.in, last, key)) continue;  // all of the warp
      this->weigh_tile(key, [&](int m, int n, int half, float w0, float w1) {
        p[m][n][half] = device::pack_bf16(w0, w1);
      });
      this->rescale_output();
      multiply_add_tile(o_, p, values_);
    }
  }

  /// A pass over the keys alone, their tiles by turns in the two buffers.
  __device__ void find_rows() {
    typename Base::ThreadEnds ends;
    const int end = tile_.end_key(a_.in);
    const Source keys = source(a_.in.k);
    int key = first_keys_.least;
    load(keys_, keys, key);
    Tile<kD> now = keys_;
    Tile<kD> next = values_;
    for (; key < end; key += kKeys) {
      device::copy_async_wait<0>();
      __syncthreads();
      if (key + kKeys < end) load(next, keys, key + kKeys);
      multiply_rows<Shape::kUnroll>(s_, shared_queries(), now);
      this->find_tile_ends(ends, key);
      const Tile<kD> used = now;
      now = next;
      next = used;
    }
    this->finish_rows(ends);
    __syncthreads();  // rows are written; nobody reads the keys any more
  }

  const Tile<kD> q_;
  const Tile<kD> keys_;
  const Tile<kD> values_;
};

template <int kHeadSize, MonoidWeighting W>
void run_forward_pass(Stream& stream, const ForwardArguments<W>& arguments, std::int64_t batch) {
  using Shape = ForwardShapeOf<W, kHeadSize>;
  launch_pass<ForwardPass<W, Shape>>(
      stream,
      tile_grid(arguments.in.heads, batch, base::div_up(arguments.in.time, Shape::kQueries)),
      arguments);
}

}  // namespace ssmax::kernels::cuda
