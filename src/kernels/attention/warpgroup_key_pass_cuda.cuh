#pragma once

#include "kernels/attention/key_pass_cuda.cuh"
#include "kernels/attention/tile_ring_cuda.cuh"

/// The key pass of the form together for compute capability 9.0. A block has 128 keys at a time:
/// two warpgroups have 64 each, a third copies tiles of queries ahead of them.
namespace ssmax::kernels::cuda {

template <int kHeadSize>
struct WarpgroupKeyShape {
  static constexpr int kD = kHeadSize;
  static constexpr int kM = 1;
  static constexpr int kWorkers = 2 * device::kWarpgroupSize;
  static constexpr int kThreads = kWorkers + device::kWarpgroupSize;
  static constexpr int kKeys = kWorkers / device::kWarpSize * 16 * kM;
  static constexpr int kQueries = kSummedQueries;
  // A warpgroup has 64 columns of dq': of heads of 64 all, of every second tile.
  static constexpr int kSumM = 1;
  static constexpr int kSumColumns = 64;
};

template <Weighting W>
struct WarpgroupBackwardArguments {
  BackwardArguments<W> backward;
  device::TensorMap q;
  device::TensorMap dout;
  device::TensorMap k;
  device::TensorMap v;
};

template <MonoidWeighting W, class Shape>
class WarpgroupKeyPass {
  static constexpr int kD = Shape::kD;
  static constexpr int kM = Shape::kM;
  static constexpr int kKeys = Shape::kKeys;
  static constexpr int kQueries = Shape::kQueries;
  static constexpr int kReaders = Shape::kWorkers / device::kWarpSize;
  static constexpr int kBoxes = kD / 64;
  using KeyRing = TileRing<kKeys, kD, 1, kReaders>;
  using QueryRing = TileRing<kQueries, kD, 2, kReaders>;
  using Sums = QuerySums<Shape>;
  using Row = BackwardRow<W>;
  static_assert(std::same_as<W, SoftmaxWeighting>);

  // Shared memory, in this order: tiles of keys, values, queries and dO; dx of two tiles of
  // queries, a row for every key; 16 rows of ones; barriers; rows of two tiles of queries.
  static constexpr int kDxBytes = kKeys * device::kTileRowBytes;
  static constexpr int kOnesBytes = 16 * device::kTileRowBytes;
  static constexpr int kDxBegin = 2 * KeyRing::kBytes + 2 * QueryRing::kBytes;
  static constexpr int kOnesBegin = kDxBegin + 2 * kDxBytes;
  static constexpr int kBarriersBegin = kOnesBegin + kOnesBytes;
  static constexpr int kRowsBegin =
      kBarriersBegin + 2 * KeyRing::kBarrierBytes + 2 * QueryRing::kBarrierBytes;
  static constexpr int kRowsBytes = kQueries * static_cast<int>(sizeof(Row));
  static_assert(kRowsBegin % 16 == 0);

 public:
  static constexpr int kThreads = Shape::kThreads;
  static constexpr int kLeastBlocks = 1;
  using Arguments = WarpgroupBackwardArguments<W>;

  static constexpr std::int64_t shared_bytes() {
    return device::kTileAlignment + kRowsBegin + 2 * kRowsBytes;
  }

  __device__ explicit WarpgroupKeyPass(const Arguments& arguments)
      : WarpgroupKeyPass(arguments, aligned_shared()) {}

  __device__ void run() {
    if constexpr (device::kHasWarpgroups) {
      prepare();
      work_and_copy<Shape::kWorkers>([&] { work(); }, [&] { copy_tiles(); });
    } else {
      device::fail_without_warpgroups();
    }
  }

 private:
  __device__ WarpgroupKeyPass(const Arguments& arguments, unsigned char* memory)
      : WarpgroupKeyPass(arguments, memory, device::shared_address(memory)) {}
  __device__ WarpgroupKeyPass(const Arguments& arguments, unsigned char* memory,
                              device::SharedAddress address)
      : arguments_(arguments),
        a_(arguments.backward),
        memory_(memory),
        keys_(address, address + kBarriersBegin),
        values_(address + KeyRing::kBytes, address + kBarriersBegin + KeyRing::kBarrierBytes),
        queries_(address + 2 * KeyRing::kBytes,
                 address + kBarriersBegin + 2 * KeyRing::kBarrierBytes),
        douts_(address + 2 * KeyRing::kBytes + QueryRing::kBytes,
               address + kBarriersBegin + 2 * KeyRing::kBarrierBytes + QueryRing::kBarrierBytes),
        tile_{static_cast<int>(blockIdx.z) * kKeys},
        warpgroup_(device::uniform_warp_id() / 4),
        warp_row_(device::uniform_warp_id() * 16 * kM) {}

  __device__ void prepare() {
    const int thread = static_cast<int>(threadIdx.x);
    if (thread == 0) {
      keys_.init();
      values_.init();
      queries_.init();
      douts_.init();
      device::barriers_ready();
    }
    constexpr std::uint32_t kOnes = 0x3f803f80U;  // two bf16
    for (int i = thread; i < kOnesBytes / 16; i += kThreads) {
      *reinterpret_cast<uint4*>(memory_ + kOnesBegin + 16 * i) =
          make_uint4(kOnes, kOnes, kOnes, kOnes);
    }
    device::publish_shared();
    __syncthreads();
  }

  __device__ bool next_keys() {
    tile_.key += static_cast<int>(gridDim.z) * kKeys;
    return tile_.key < a_.in.keys;
  }

  /// visit(i, place) for every tile of queries that may see the keys, the i-th of the block; a warp
  /// goes together. How many tiles there were before the next keys.
  template <class Visit>
  __device__ int for_each_tile(int i, const Visit& visit) const {
    const int end = __shfl_sync(kAllLanes, tile_.query_end(a_.in), 0);  // the same for all
    const int first = first_query_tile(a_.in, tile_.key, kQueries) * kQueries;
    for (int head = 0; head < a_.in.heads_per_group; ++head) {
      for (int t = first; t < end; t += kQueries) visit(i++, QueryPlace{t, head});
    }
    return i;
  }

  /// One warp.
  __device__ void copy_tiles() {
    int i = 0;
    int j = 0;
    do {
      keys_.wait_empty(j);
      values_.wait_empty(j);
      if (device::lane_id() == 0) {
        keys_.fill(j, arguments_.k, tile_.b(), tile_.key, tile_.group());
        values_.fill(j, arguments_.v, tile_.b(), tile_.key, tile_.group());
      }
      ++j;
      i = for_each_tile(i, [&](int at, const QueryPlace& place) { copy_queries(at, place); });
    } while (next_keys());
  }

  __device__ void copy_queries(int i, const QueryPlace& at) const {
    queries_.wait_empty(i);
    douts_.wait_empty(i);
    const int h = tile_.first_head(a_.in) + at.head;
    const int rows = smaller(kQueries, a_.in.time - at.t);
    Row* to = rows_of(i);
    // A row that is no query sees nothing.
    for (int r = rows + device::lane_id(); r < kQueries; r += device::kWarpSize) {
      to[r].visible = {};
      to[r].scale2 = to[r].shift2 = to[r].coefficient = to[r].d = to[r].values[0] = 0.0F;
    }
    device::publish_shared();  // copies will take their place
    __syncwarp();
    if (device::lane_id() == 0) {
      const int bytes = rows * static_cast<int>(sizeof(Row));
      queries_.fill(i, arguments_.q, tile_.b(), at.t, h, bytes);
      device::copy_bytes_async(device::shared_address(to), a_.rows + a_.in.row(tile_.b(), h, at.t),
                               bytes, queries_.full(i));
      douts_.fill(i, arguments_.dout, tile_.b(), at.t, h);
    }
  }

  __device__ void work() {
    int i = 0;
    int j = 0;
    do {
      clear(dk_);
      clear(dv_);
      keys_.wait(j);
      values_.wait(j);
      i = for_each_tile(i, [&](int at, const QueryPlace& place) { add_tile(at, place); });
      device::partial_barrier<Shape::kWorkers>(1);  // no product reads keys and values any more
      store(a_.dk, dk_, 0);
      store(a_.dv, dv_, KeyRing::kBytes);
      device::publish_shared();
      keys_.release(j);
      values_.release(j++);
    } while (next_keys());
  }

  /// Through the tile from byte `begin`, whose rows of this warp nobody else reads any more.
  __device__ void store(const Heads<Bf16>& to, const float (&c)[kM][kD / 8][4], int begin) const {
    store_rows(to.at(tile_.b(), tile_.key + warp_row_, tile_.group()), to.time_stride,
               tile_.keys(a_.in) - warp_row_, to.head_size, c,
               Tile<kD>{reinterpret_cast<Bf16*>(memory_ + begin)}, warp_row_,
               [](int, int) { return 1.0F; });
    __syncwarp();
  }

  __device__ void add_tile(int i, const QueryPlace& at) {
    queries_.wait(i);
    douts_.wait(i);
    // Whether any of the queries sees the first of the warpgroup's keys.
    const bool sees = a_.in.first_position + at.t + kQueries > tile_.key + warpgroup_ * 64;
    if (sees) {
      differentiate(i, at);
    } else {
      put_zeros(i);
    }
    device::publish_shared();
    if (kBoxes > 1 || owns_tile(at)) {
      typename Sums::Part dq;
      float sums[1][4] = {};
      clear(dq);
      float4* tile = sums_of(at);
      load_sums(dq, sums, tile, at);
      device::settle(dq[0]);
      device::settle(sums);
      if (sees) start_key_gradients(i);
      wait_for_dx();
      start_query_sums(dq, sums, i);
      device::products_wait<0>();
      store_sums(dq, sums, tile, at);
    } else {
      if (sees) start_key_gradients(i);
      wait_for_dx();
      device::products_wait<0>();
    }
    queries_.release(i);
    douts_.release(i);
  }

  /// Until dx of both warpgroups is there.
  __device__ static void wait_for_dx() { device::partial_barrier<Shape::kWorkers>(1); }

  /// Weights and gradients of the scores to registers, dx to shared memory.
  __device__ void differentiate(int i, const QueryPlace& at) {
    const auto k = device::matrix_descriptor(device::only_here(keys_.tile(0)) + warpgroup_rows());
    const auto v = device::matrix_descriptor(device::only_here(values_.tile(0)) + warpgroup_rows());
    device::products_begin();
    start_rows_by_rows<KeyRing, QueryRing>(s_[0], k, device::matrix_descriptor(queries_.tile(i)));
    start_rows_by_rows<KeyRing, QueryRing>(g_[0], v, device::matrix_descriptor(douts_.tile(i)));
    device::products_commit();
    device::products_wait<0>();
    const int key = tile_.key + warp_row_ + place_.row;
    const Row* rows = rows_of(i) + place_.column;
    const unsigned dx = dx_offset(i);
    const auto put = [&](int /*m*/, int n, int half, float low, float high) {
      put_dx(dx, n, half, device::pack_bf16(low, high));
    };
    if (tile_.is_general(a_.in, at.t, kQueries)) {
      const float slope2 = a_.in.slope(tile_.first_head(a_.in) + at.head) * kLog2E;
      differentiate_columns<true>(weights_, ds_, s_, g_, rows, slope2, key, a_.weighting, put);
    } else {
      differentiate_columns<false>(weights_, ds_, s_, g_, rows, 0.0F, key, a_.weighting, put);
    }
  }

  /// dv += weights times dO, dk += gradients of the scores times queries.
  __device__ void start_key_gradients(int i) {
    device::products_begin();
    start_weighted_rows(dv_[0], weights_[0],
                        device::matrix_descriptor(douts_.tile(i), QueryRing::kBoxBytes));
    start_weighted_rows(dk_[0], ds_[0],
                        device::matrix_descriptor(queries_.tile(i), QueryRing::kBoxBytes));
    device::products_commit();
  }

  /// Of the thread's first two elements of dx from memory_, in bytes.
  __device__ unsigned dx_offset(int i) const {
    const int row = warp_row_ + place_.row;
    return device::only_here(static_cast<unsigned>(kDxBegin + i % 2 * kDxBytes +
                                                   row * device::kTileRowBytes + (row & 7) * 16 +
                                                   place_.column * static_cast<int>(sizeof(Bf16))));
  }
  /// dx of a key and two queries; sixteen bytes n of a row are an exclusive or away.
  __device__ void put_dx(unsigned offset, int n, int half, std::uint32_t pair) const {
    const unsigned at = (offset ^ static_cast<unsigned>(16 * n)) +
                        static_cast<unsigned>(8 * half * device::kTileRowBytes);
    *reinterpret_cast<std::uint32_t*>(memory_ + at) = pair;
  }
  __device__ void put_zeros(int i) const {
    const unsigned dx = dx_offset(i);
#pragma unroll
    for (int n = 0; n < kQueries / 8; ++n) {
      for (int half = 0; half < 2; ++half) put_dx(dx, n, half, 0);
    }
  }

  /// The same warpgroup for the same queries, whichever keys: it reads what it has written.
  __device__ bool owns_tile(const QueryPlace& at) const {
    return at.t / kQueries % 2 == warpgroup_;
  }
  __device__ float4* sums_of(const QueryPlace& at) const {
    return Sums::tile(a_.query_sums, tile_.sum_index(a_.in, at));
  }
  __device__ void load_sums(typename Sums::Part& dq, float (&sums)[1][4], float4* tile,
                            const QueryPlace& at) const {
    if (tile_.begins(a_.in)) return;
    Sums::load(dq, tile);
    if (owns_tile(at)) {
      const float* row_sums = Sums::row_sums(tile) + Sums::row() + place_.row;
      sums[0][0] = row_sums[0];
      sums[0][2] = row_sums[8];
    }
  }
  /// dq' += the transpose of dx times the keys, R += the sums of dx over the keys.
  __device__ void start_query_sums(typename Sums::Part& dq, float (&sums)[1][4], int i) const {
    const auto address = device::shared_address(memory_);
    const auto dx = device::matrix_descriptor(address + kDxBegin + i % 2 * kDxBytes);
    const int box = kBoxes > 1 ? warpgroup_ : 0;
    const auto k =
        device::matrix_descriptor(device::only_here(keys_.tile(0)) + box * KeyRing::kBoxBytes);
    const auto ones = device::matrix_descriptor(address + kOnesBegin);
    device::products_begin();
#pragma unroll
    for (int row = 0; row < kKeys; row += 16) {
      const int bytes = row * device::kTileRowBytes;
      device::multiply_columns_async(dq[0], dx.at(bytes), k.at(bytes), device::Sums::add);
    }
    // By both warpgroups where both have part of dq', though one stores it: a branch around
    // products would make the compiler wait for them.
#pragma unroll
    for (int row = 0; row < kKeys; row += 16) {
      device::multiply_columns_async(sums, dx.at(row * device::kTileRowBytes), ones,
                                     device::Sums::add);
    }
    device::products_commit();
  }
  __device__ void store_sums(const typename Sums::Part& dq, const float (&sums)[1][4], float4* tile,
                             const QueryPlace& at) const {
    Sums::store(tile, dq);
    if (place_.column == 0 && owns_tile(at)) {
      float* row_sums = Sums::row_sums(tile) + Sums::row() + place_.row;
      row_sums[0] = sums[0][0];
      row_sums[8] = sums[0][2];
    }
  }

  __device__ int warpgroup_rows() const { return warpgroup_ * 64 * device::kTileRowBytes; }
  __device__ Row* rows_of(int i) const {
    return reinterpret_cast<Row*>(memory_ + kRowsBegin) + i % 2 * kQueries;
  }

  const Arguments& arguments_;
  const BackwardArguments<W>& a_;
  const Place place_;
  unsigned char* const memory_;
  const KeyRing keys_;
  const KeyRing values_;
  const QueryRing queries_;
  const QueryRing douts_;
  KeyTile<kKeys> tile_;
  const int warpgroup_;
  const int warp_row_;
  Accumulators<kM, kQueries> s_;
  Accumulators<kM, kQueries> g_;
  LeftOperands<kM, kQueries> weights_;
  LeftOperands<kM, kQueries> ds_;
  Accumulators<kM, kD> dk_;
  Accumulators<kM, kD> dv_;
};

template <int kHeadSize, MonoidWeighting W>
void run_warpgroup_key_pass(Stream& stream, const BackwardArguments<W>& arguments,
                            const AttentionInputs& inputs, const ConstHeadsView& dout,
                            std::int64_t blocks) {
  using Shape = WarpgroupKeyShape<kHeadSize>;
  launch_pass<WarpgroupKeyPass<W, Shape>>(
      stream, tile_grid(inputs.k.heads, inputs.k.batch, blocks),
      {arguments, map_of(inputs.q, inputs.q.time, Shape::kQueries),
       map_of(dout, dout.time, Shape::kQueries), map_of(inputs.k, used_keys(inputs), Shape::kKeys),
       map_of(inputs.v, used_keys(inputs), Shape::kKeys)});
}

}  // namespace ssmax::kernels::cuda
