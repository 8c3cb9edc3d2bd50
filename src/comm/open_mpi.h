#pragma once

#include <memory>

#include "comm/communicator.h"

namespace ssmax::comm {

/// Initializes MPI and joins all of its ranks. Defined in builds with MPI only; see kBuiltWithMpi.
std::unique_ptr<Communicator> open_mpi();

}  // namespace ssmax::comm
