#include "nccl.h"

#include <unistd.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <vector>

#include "comm/nccl_library.h"
#include "comm/open_tcp.h"
#include "device/dtype.h"
#include "simt/device_memory.h"
#include "simt/nccl_state.h"

// NCCL between emulated devices: the collectives over TCP, queued in the stream like the real ones,
// added in the order of the ranks. Every call but the last asks for patience, as a communicator
// that does not block may.

namespace simt = ssmax::simt;
namespace comm = ssmax::comm;
namespace device = ssmax::device;

struct ncclComm {
  int rank = 0;
  int size = 1;
  std::uint16_t port = 0;
  std::unique_ptr<comm::Communicator> ranks;  // null before they have met, and for a rank alone
  bool busy = true;                           // the next look says so
  std::shared_ptr<bool> aborted = std::make_shared<bool>(false);
};

namespace {

std::atomic<int> state_of_all = ncclSuccess;

std::size_t size_of(ncclDataType_t type) {
  return type == ncclBfloat16 ? 2 : type == ncclFloat64 ? 8 : 4;
}

std::vector<float> load(const void* from, std::size_t count, ncclDataType_t type) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = type == ncclBfloat16 ? static_cast<float>(static_cast<const device::Bf16*>(from)[i])
                                     : static_cast<const float*>(from)[i];
  }
  return values;
}

void store(void* to, const std::vector<float>& values, std::size_t begin, std::size_t count,
           ncclDataType_t type) {
  for (std::size_t i = 0; i < count; ++i) {
    if (type == ncclBfloat16) {
      static_cast<device::Bf16*>(to)[i] = device::Bf16(values[begin + i]);
    } else {
      static_cast<float*>(to)[i] = values[begin + i];
    }
  }
}

/// Queues the work of a collective.
template <class Work>
ncclResult_t collective(ncclComm_t ranks, cudaStream_t stream, Work work) {
  if (ranks->busy) return ncclInvalidUsage;  // nobody looked how the call before went
  simt::submit(stream, [work, aborted = ranks->aborted] {
    if (*aborted) return;
    const simt::OpenDeviceMemory open;
    work();
  });
  ranks->busy = true;
  return ncclInProgress;
}

}  // namespace

void simt::set_nccl_state(int result) { state_of_all = result; }

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  static std::atomic<int> calls = 0;
  // Between run_ranks.sh's and those that the system gives to sockets, which may be in use.
  const auto port = static_cast<std::uint16_t>(30000 + (getpid() * 16 + calls++) % 2700);
  std::memcpy(id->internal, &port, sizeof(port));
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* ranks, int size, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  if (config->blocking != 0) return ncclInvalidArgument;
  *ranks = new ncclComm;
  (*ranks)->rank = rank;
  (*ranks)->size = size;
  std::memcpy(&(*ranks)->port, id.internal, sizeof((*ranks)->port));
  return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t ranks, ncclResult_t* state) {
  if (ranks->ranks == nullptr && ranks->size > 1) {
    ranks->ranks = comm::open_tcp(ranks->rank, ranks->size, "localhost", ranks->port);
  }
  *state = ranks->busy ? ncclInProgress : static_cast<ncclResult_t>(state_of_all.load());
  ranks->busy = false;
  return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t ranks) {
  ranks->busy = true;
  return ncclInProgress;
}
ncclResult_t ncclCommDestroy(ncclComm_t ranks) {
  delete ranks;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t ranks) {
  *ranks->aborted = true;
  delete ranks;
  return ncclSuccess;
}

ncclResult_t ncclReduceScatter(const void* from, void* to, std::size_t count, ncclDataType_t type,
                               ncclRedOp_t operation, ncclComm_t ranks, cudaStream_t stream) {
  const std::size_t all = count * static_cast<std::size_t>(ranks->size);
  if (operation != ncclSum || (type != ncclFloat32 && type != ncclBfloat16) ||
      !simt::is_device_memory(from, all * size_of(type)) ||
      !simt::is_device_memory(to, count * size_of(type))) {
    return ncclInvalidArgument;
  }
  return collective(ranks, stream, [=] {
    std::vector<float> values = load(from, all, type);
    device::Stream on_host;
    if (ranks->ranks != nullptr) {
      ranks->ranks->sum(on_host, device::view(values.data(), {static_cast<std::int64_t>(all)}),
                        comm::Wire::full);
    }
    store(to, values, count * static_cast<std::size_t>(ranks->rank), count, type);
  });
}

ncclResult_t ncclAllGather(const void* from, void* to, std::size_t count, ncclDataType_t type,
                           ncclComm_t ranks, cudaStream_t stream) {
  const std::size_t bytes = count * size_of(type);
  if (!simt::is_device_memory(from, bytes) ||
      !simt::is_device_memory(to, bytes * static_cast<std::size_t>(ranks->size))) {
    return ncclInvalidArgument;
  }
  return collective(ranks, stream, [=] {
    const std::string mine(static_cast<const char*>(from), bytes);
    auto* next = static_cast<char*>(to);
    const std::vector<std::string> parts =
        ranks->ranks == nullptr ? std::vector{mine} : ranks->ranks->gather_texts(mine);
    for (const std::string& part : parts) next = std::copy(part.begin(), part.end(), next);
  });
}

const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclRemoteError ? "remote process exited or there was a network error"
                                   : "an error of the emulated NCCL";
}
const char* ncclGetLastError(ncclComm_t /*ranks*/) { return ""; }

namespace ssmax::comm::cuda {

const NcclLibrary& nccl_library() {
  static const NcclLibrary library = {.search = {.version = "emulated", .missing = ""},
                                      .calls = {.get_unique_id = ncclGetUniqueId,
                                                .init_rank = ncclCommInitRankConfig,
                                                .get_async_error = ncclCommGetAsyncError,
                                                .finalize = ncclCommFinalize,
                                                .destroy = ncclCommDestroy,
                                                .abort = ncclCommAbort,
                                                .reduce_scatter = ncclReduceScatter,
                                                .all_gather = ncclAllGather,
                                                .get_error_string = ncclGetErrorString,
                                                .get_last_error = ncclGetLastError}};
  return library;
}

}  // namespace ssmax::comm::cuda
