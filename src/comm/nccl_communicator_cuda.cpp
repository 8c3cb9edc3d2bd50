#include <cstring>

#include "base/errors.h"
#include "base/format.h"
#include "comm/agreement.h"
#include "comm/nccl_library.h"
#include "comm/patience.h"
#include "comm/wire_cuda.h"
#include "device/arena.h"
#include "device/cuda_check.h"
#include "device/event.h"
#include "device/queue.h"

namespace ssmax::comm::cuda {

namespace {

using device::DType;

/// For the ranks to find each other, with many machines and a network that is looked at first.
constexpr double kMeetingSeconds = 300.0;
/// For leaving in order; afterwards it is done without the others.
constexpr double kLeavingSeconds = 5.0;

ncclDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return ncclFloat32;
    case DType::bf16:
      return ncclBfloat16;
    case DType::f64:
      return ncclFloat64;
    case DType::i32:
      return ncclInt32;
  }
  return ncclFloat32;
}

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(std::unique_ptr<Communicator> host, device::Device gpu)
      : Communicator(host->rank(), host->size()),
        host_(std::move(host)),
        nccl_(nccl_library().calls),
        gpu_(gpu),
        done_(gpu),
        arena_(gpu) {
    for (int rank = 0; rank < size_; ++rank) hosts_.push_back(host_->host(rank));
    ncclUniqueId id{};
    together(*host_, [&] {
      device::cuda::use(gpu_.index);
      if (is_root()) check(nccl_.get_unique_id(&id), "ncclGetUniqueId");
    });
    const std::string bytes = host_->broadcast({id.internal, sizeof(id.internal)});
    std::memcpy(id.internal, bytes.data(), sizeof(id.internal));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    timeout_seconds_ = kMeetingSeconds;
    started(nccl_.init_rank(&nccl_ranks_, size_, id, rank_, &config), "ncclCommInitRankConfig");
    timeout_seconds_ = 0.0;
  }

  ~NcclCommunicator() override {
    if (nccl_ranks_ == nullptr) return;
    timeout_seconds_ = kLeavingSeconds;
    on_wait_ = {};
    try {
      started(nccl_.finalize(nccl_ranks_), "ncclCommFinalize");
      nccl_.destroy(nccl_ranks_);
    } catch (const base::Error&) {
      // It is aborted, and what its end would say was said before.
    }
  }

  std::string_view transport() const override { return "NCCL"; }

  void sum(Stream& stream, const Tensor& data, Wire wire) override {
    if (!can_move(data) || data.dtype() != DType::f32) return host_->sum(stream, data, wire);
    host_->barrier();
    const Tensor flat = data.reshaped({data.elements()});
    const Tensor sent = on_wire(stream, flat, wire);
    reduce_scatter(stream, sent);
    all_gather(stream, sent);
    if (wire == Wire::bf16) widen(stream, flat, sent);
    finish(stream, "the sum of a tensor");
  }

  void scatter_sum(Stream& stream, const Tensor& data, Wire wire) override {
    if (!can_move(data) || data.dtype() != DType::f32)
      return host_->scatter_sum(stream, data, wire);
    host_->barrier();
    const Tensor sent = on_wire(stream, data, wire);
    reduce_scatter(stream, sent);
    if (wire == Wire::bf16) widen(stream, own_part(data), own_part(sent));
    finish(stream, "the sum of a tensor");
  }

  void gather(Stream& stream, const Tensor& data) override {
    if (!can_move(data)) return host_->gather(stream, data);
    host_->barrier();
    all_gather(stream, data);
    finish(stream, "the gathering of a tensor");
  }

  void collect(Stream& stream, const Tensor& whole, const ConstTensor& part) override {
    host_->collect(stream, whole, part);
  }
  std::vector<double> gather_values(std::span<const double> mine) override {
    return host_->gather_values(mine);
  }
  std::vector<std::string> gather_texts(std::string_view mine) override {
    return host_->gather_texts(mine);
  }

  std::unique_ptr<Communicator> duplicate() override {
    return std::make_unique<NcclCommunicator>(host_->duplicate(), gpu_);
  }

  void set_timeout(double seconds) override {
    timeout_seconds_ = seconds;
    host_->set_timeout(seconds);
  }
  void set_on_wait(const OnWait& on_wait) override {
    on_wait_ = on_wait;
    host_->set_on_wait(on_wait);
  }
  void finish() override { host_->finish(); }

 private:
  /// NCCL's parts are of one size.
  bool can_move(const ConstTensor& data) const {
    return data.device() == gpu_ && data.elements() > 0 && data.elements() % size_ == 0;
  }

  Tensor own_part(const Tensor& flat) const {
    const Part part = part_of(flat.elements(), rank_, size_);
    return flat.rows(part.begin, part.end - part.begin);
  }

  /// The numbers as they travel: where they are, or narrowed into memory of this communicator.
  Tensor on_wire(Stream& stream, const Tensor& flat, Wire wire) {
    if (wire == Wire::full) return flat;
    if (narrowed_.elements() < flat.elements()) {
      arena_ = device::Arena(gpu_);
      narrowed_ = arena_.allocate("gradients as bf16", DType::bf16, {flat.elements()});
    }
    const Tensor sent = narrowed_.rows(0, flat.elements());
    narrow(stream, sent, flat);
    return sent;
  }

  void reduce_scatter(Stream& stream, const Tensor& flat) {
    const Tensor mine = own_part(flat);
    started(nccl_.reduce_scatter(flat.raw(), mine.raw(), static_cast<std::size_t>(mine.elements()),
                                 type_of(flat.dtype()), ncclSum, nccl_ranks_,
                                 device::cuda::native(stream)),
            "ncclReduceScatter");
  }

  void all_gather(Stream& stream, const Tensor& flat) {
    const Tensor mine = own_part(flat);
    started(nccl_.all_gather(mine.raw(), flat.raw(), static_cast<std::size_t>(mine.elements()),
                             type_of(flat.dtype()), nccl_ranks_, device::cuda::native(stream)),
            "ncclAllGather");
  }

  /// Until NCCL has queued what a call began: before that no other call may follow.
  void started(ncclResult_t result, const char* call) {
    check(result, call);
    wait(call, [] { return true; });
  }

  /// Until the stream has done what it holds.
  void finish(Stream& stream, const char* what) {
    done_.record(stream);
    wait(what, [this] { return done_.reached(); });
  }

  template <class Done>
  void wait(const char* what, Done&& done) {
    Patience patience;
    while (true) {
      ncclResult_t state = ncclSuccess;
      check(nccl_.get_async_error(nccl_ranks_, &state), "ncclCommGetAsyncError");
      check(state, what);
      if (state != ncclInProgress && done()) return;
      if (!patience.pause()) continue;
      if (on_wait_) on_wait_({patience.seconds(), {}});
      if (timeout_seconds_ > 0.0 && patience.seconds() >= timeout_seconds_) {
        abort();
        throw base::Error(base::ErrorKind::hang,
                          std::string("NCCL: ") + what + " takes longer than " +
                              base::format_seconds(timeout_seconds_) +
                              " although all ranks had come to it: a GPU or the network is at "
                              "fault; NCCL_DEBUG=INFO says more");
      }
    }
  }

  void check(ncclResult_t result, const char* what) {
    if (result == ncclSuccess || result == ncclInProgress) return;
    std::string text = std::string("NCCL: ") + nccl_.get_error_string(result) + " in " + what;
    const char* details = nccl_.get_last_error(nccl_ranks_);
    if (details != nullptr && *details != '\0') text += std::string(" (") + details + ")";
    abort();
    const bool lost = result == ncclRemoteError;
    throw base::Error(lost ? base::ErrorKind::hang : base::ErrorKind::device,
                      (lost ? "lost another rank: " : "") + text + "; NCCL_DEBUG=INFO says more");
  }

  void abort() {
    if (nccl_ranks_ != nullptr) nccl_.abort(nccl_ranks_);
    nccl_ranks_ = nullptr;
  }

  std::unique_ptr<Communicator> host_;
  const NcclCalls& nccl_;
  device::Device gpu_;
  ncclComm_t nccl_ranks_ = nullptr;
  device::Event done_;
  device::Arena arena_;
  Tensor narrowed_;
  double timeout_seconds_ = 0.0;
  OnWait on_wait_;
};

}  // namespace

NcclSearch find_nccl() { return nccl_library().search; }

std::unique_ptr<Communicator> open_nccl(Communicator& ranks, device::Device gpu) {
  return std::make_unique<NcclCommunicator>(ranks.duplicate(), gpu);
}

}  // namespace ssmax::comm::cuda
