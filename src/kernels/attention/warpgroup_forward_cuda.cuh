#pragma once

#include <algorithm>

#include "device/warpgroup.cuh"
#include "kernels/attention/forward_rows_cuda.cuh"
#include "kernels/attention/pass_cuda.cuh"
#include "kernels/attention/tile_ring_cuda.cuh"

/// The fused forward for compute capability 9.0. A block owns 128 queries of one head: two
/// warpgroups have 64 each, a third copies tiles of keys and values ahead of them, two tiles of
/// each. The scores of a tile are under way while those before are weighed, its values while the
/// next are: the order of FlashAttention-3 within a warpgroup (https://arxiv.org/abs/2407.08608,
/// algorithm 2).
namespace ssmax::kernels::cuda {

template <int kHeadSize, int kKeyTile>
struct WarpgroupForwardShape {
  static constexpr int kD = kHeadSize;
  static constexpr int kM = 1;
  static constexpr int kWorkers = 2 * device::kWarpgroupSize;
  static constexpr int kThreads = kWorkers + device::kWarpgroupSize;
  static constexpr int kQueries = kWorkers / device::kWarpSize * 16 * kM;
  static constexpr int kKeys = kKeyTile;
};

/// The widest tiles that spill no registers.
template <Weighting W, int kHeadSize>
using WarpgroupForwardShapeOf =
    WarpgroupForwardShape<kHeadSize, ExponentialWeighting<W> ? 128 : 64>;

template <Weighting W>
struct WarpgroupForwardArguments {
  ForwardArguments<W> forward;
  device::TensorMap q;
  device::TensorMap k;
  device::TensorMap v;
};

template <MonoidWeighting W, class Shape>
class WarpgroupForwardPass : ForwardRows<W, Shape> {
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
  using Queries = TileRing<Shape::kQueries, kD, 1, 1>;
  using Ring = TileRing<kKeys, kD, 2, Shape::kWorkers / device::kWarpSize>;

  static constexpr int kTilesBytes = Queries::kBytes + 2 * Ring::kBytes;
  static constexpr int kBarriersBytes = Queries::kBarrierBytes + 2 * Ring::kBarrierBytes;
  static constexpr bool kKnowsRows = OnePassWeighting<W> || W::kNeeds == RowNeeds::nothing;

 public:
  static constexpr int kThreads = Shape::kThreads;
  static constexpr int kLeastBlocks = 1;
  using Arguments = WarpgroupForwardArguments<W>;

  static constexpr std::int64_t shared_bytes() {
    return device::kTileAlignment + kTilesBytes + kBarriersBytes + Base::rows_bytes();
  }

  __device__ explicit WarpgroupForwardPass(const Arguments& arguments)
      : WarpgroupForwardPass(arguments, aligned_shared()) {}

  /// An error where the code is compiled for other GPUs.
  __device__ void run() {
    if constexpr (device::kHasWarpgroups) {
      prepare();
      work_and_copy<Shape::kWorkers>([&] { work(); }, [&] { copy_tiles(); });
    } else {
      device::fail_without_warpgroups();
    }
  }

 private:
  __device__ WarpgroupForwardPass(const Arguments& arguments, unsigned char* tiles)
      : WarpgroupForwardPass(arguments, tiles, device::shared_address(tiles),
                             device::shared_address(tiles + kTilesBytes)) {}
  __device__ WarpgroupForwardPass(const Arguments& arguments, unsigned char* tiles,
                                  device::SharedAddress address, device::SharedAddress barriers)
      : Base(arguments.forward, tiles + kTilesBytes + kBarriersBytes,
             device::uniform_warp_id() * 16 * kM),
        arguments_(arguments),
        memory_(tiles),
        queries_(address, barriers),
        keys_(address + Queries::kBytes, barriers + Queries::kBarrierBytes),
        values_(address + Queries::kBytes + Ring::kBytes,
                barriers + Queries::kBarrierBytes + Ring::kBarrierBytes) {}

  __device__ void prepare() {
    const int thread = static_cast<int>(threadIdx.x);
    if (thread == 0) {
      queries_.init();
      keys_.init();
      values_.init();
      device::barriers_ready();
    }
    if (thread < Shape::kQueries) this->prepare_row(thread);
    __syncthreads();
    if (device::warp_id() == 0) this->find_first_keys();
    __syncthreads();
  }

  /// One warp.
  __device__ void copy_tiles() const {
    if (device::lane_id() != 0) return;
    const int group = tile_.group(a_.in);
    const int end = tile_.end_key(a_.in);
    queries_.wait_empty(0);
    queries_.fill(0, arguments_.q, tile_.b, tile_.t, tile_.h);
    int i = 0;
    if constexpr (!kKnowsRows) {
      for (int key = first_keys_.least; key < end; key += kKeys) {
        keys_.wait_empty(i);
        keys_.fill(i++, arguments_.k, tile_.b, key, group);
      }
    }
    int j = 0;
    for (int key = first_keys_.least; key < end; key += kKeys) {
      keys_.wait_empty(i);
      keys_.fill(i++, arguments_.k, tile_.b, key, group);
      values_.wait_empty(j);
      values_.fill(j++, arguments_.v, tile_.b, key, group);
    }
  }

  __device__ void work() {
    queries_.wait(0);
    if constexpr (OnePassWeighting<W>) flip_queries();
    int i = 0;
    if constexpr (!kKnowsRows) i = find_rows();
    pass(i);
    device::partial_barrier<Shape::kWorkers>(1);  // no product reads queries any more
    this->store(Tile<kD>{reinterpret_cast<Bf16*>(memory_)});
  }

  /// Half a warp flips its rows.
  __device__ void flip_queries() {
    const int r = warp_row_ + device::lane_id();
    if (device::lane_id() < 16 * kM && this->flips(r)) {
      for (int c = 0; c < kD / 8; ++c) {
        const Tile<64> box{reinterpret_cast<Bf16*>(memory_ + c / 8 * Queries::kBoxBytes)};
        Base::flip(*reinterpret_cast<uint4*>(box.chunk(r, c % 8)));
      }
    }
    device::publish_shared();
    device::partial_barrier<Shape::kWorkers>(1);
  }

  /// A pass over the keys alone; how many tiles there were.
  __device__ int find_rows() {
    typename Base::ThreadEnds ends;
    const int end = tile_.end_key(a_.in);
    int i = 0;
    for (int key = first_keys_.least; key < end; key += kKeys) {
      start_scores(i);
      device::products_wait<0>();
      keys_.release(i++);
      this->find_tile_ends(ends, key);
    }
    this->finish_rows(ends);
    __syncwarp();
    return i;
  }

  /// `i`: of the first tile of keys in the ring.
  __device__ void pass(int i) {
    const int end = tile_.end_key(a_.in);
    LeftOperands<kM, kKeys> p;
    this->begin();
    int key = first_keys_.least;
    start_scores(i);
    device::products_wait<0>();
    keys_.release(i++);
    weigh_in_place(key);
    round_weights(p);
    int j = 0;
    for (key += kKeys; key < end; key += kKeys) {
      start_scores(i);
      start_output(p, j);
      device::products_wait<1>();
      keys_.release(i++);
      weigh_in_place(key);
      device::products_wait<0>();
      values_.release(j++);
      this->rescale_output();
      round_weights(p);  // not before: products read p until here
    }
    start_output(p, j);
    device::products_wait<0>();
    values_.release(j);
  }

  __device__ void weigh_in_place(int key) {
    this->weigh_tile(key, [&](int m, int n, int half, float w0, float w1) {
      s_[m][n][2 * half] = w0;
      s_[m][n][2 * half + 1] = w1;
    });
  }
  __device__ void round_weights(LeftOperands<kM, kKeys>& p) const {
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
      p[0][n][0] = device::pack_bf16(s_[0][n][0], s_[0][n][1]);
      p[0][n][1] = device::pack_bf16(s_[0][n][2], s_[0][n][3]);
    }
  }

  /// s = q k^T.
  __device__ void start_scores(int i) {
    constexpr int kWarpgroupRows = device::kWarpgroupSize / device::kWarpSize * 16;
    const int rows = warp_row_ / kWarpgroupRows * kWarpgroupRows;
    const auto q = device::matrix_descriptor(queries_.tile(0) + rows * device::kTileRowBytes);
    const auto k = device::matrix_descriptor(keys_.tile(i));
    keys_.wait(i);
    device::products_begin();
    start_rows_by_rows<Queries, Ring>(s_[0], q, k);
    device::products_commit();
  }

  /// o += p v.
  __device__ void start_output(const LeftOperands<kM, kKeys>& p, int j) {
    const auto v = device::matrix_descriptor(values_.tile(j), Ring::kBoxBytes);
    values_.wait(j);
    device::products_begin();
    start_weighted_rows(o_[0], p[0], v);
    device::products_commit();
  }

  const Arguments& arguments_;
  unsigned char* const memory_;
  const Queries queries_;
  const Ring keys_;
  const Ring values_;
};

template <int kHeadSize, MonoidWeighting W>
void run_warpgroup_forward(Stream& stream, const ForwardArguments<W>& arguments,
                           const AttentionInputs& inputs) {
  using Shape = WarpgroupForwardShapeOf<W, kHeadSize>;
  launch_pass<WarpgroupForwardPass<W, Shape>>(
      stream,
      tile_grid(arguments.in.heads, inputs.q.batch,
                base::div_up(arguments.in.time, Shape::kQueries)),
      {arguments, map_of(inputs.q, inputs.q.time, Shape::kQueries),
       map_of(inputs.k, used_keys(inputs), Shape::kKeys),
       map_of(inputs.v, used_keys(inputs), Shape::kKeys)});
}

}  // namespace ssmax::kernels::cuda
