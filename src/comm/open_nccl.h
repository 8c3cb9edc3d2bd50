#pragma once

#include <memory>
#include <string>

#include "comm/communicator.h"

namespace ssmax::comm {

/// Whether this process can use NCCL.
struct NcclSearch {
  std::string version;  ///< "2.28.9"; empty when it cannot
  std::string missing;  ///< then why, and how to fix it
};

/// Loads the library at the first call.
NcclSearch find_nccl();

/// Part of the CUDA backend, where the build found NCCL's header.
namespace cuda {

[[gnu::weak]] NcclSearch find_nccl();

/// The same ranks with tensors on `gpu` moved by NCCL. Texts and numbers go through a duplicate of
/// `ranks`, and so do tensors whose parts are not of one size and those of collect(). find_nccl()
/// must have given the same version on all ranks, and no two may share a GPU. Collective.
///
/// A sum is a reduce-scatter and an all-gather here too, so that scatter_sum() and sum() give the
/// same bits. NCCL adds in an order that follows from sizes, the number of ranks and how the GPUs
/// are connected: from run to run the same for one version and its settings on the same machines,
/// not that of the ranks. Numbers that travel as bf16 are rounded to it after every addition.
///
/// The ranks meet before every tensor, through `ranks`, so that one which is silent is known by
/// name before GPUs wait for it. Error(hang), too, when NCCL itself takes longer than the timeout
/// or has lost a rank, which it cannot name, and Error(device) for its other errors; after either
/// the communicator is of no use.
[[gnu::weak]] std::unique_ptr<Communicator> open_nccl(Communicator& ranks, device::Device gpu);

}  // namespace cuda

}  // namespace ssmax::comm
