#pragma once

#include <nccl.h>

#include "comm/open_nccl.h"

// Included by files of the CUDA backend only.

namespace ssmax::comm::cuda {

/// The calls of NCCL that are made here. They are looked up in the library while the program runs,
/// which so starts where NCCL is not installed.
struct NcclCalls {
  decltype(&ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&ncclCommInitRankConfig) init_rank = nullptr;
  decltype(&ncclCommGetAsyncError) get_async_error = nullptr;
  decltype(&ncclCommFinalize) finalize = nullptr;
  decltype(&ncclCommDestroy) destroy = nullptr;
  decltype(&ncclCommAbort) abort = nullptr;
  decltype(&ncclReduceScatter) reduce_scatter = nullptr;
  decltype(&ncclAllGather) all_gather = nullptr;
  decltype(&ncclGetErrorString) get_error_string = nullptr;
  decltype(&ncclGetLastError) get_last_error = nullptr;
};

struct NcclLibrary {
  NcclSearch search;
  NcclCalls calls;  ///< all there when the search gave a version
};

/// Loaded at the first call, never unloaded.
const NcclLibrary& nccl_library();

}  // namespace ssmax::comm::cuda
