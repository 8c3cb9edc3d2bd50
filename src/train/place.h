#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/seats.h"
#include "train/run_config.h"

namespace ssmax::train {

/// Which of how many ranks, and where it computes.
struct Place {
  int rank = 0;
  int ranks = 1;
  int local_ranks = 1;  ///< on this machine, that share its memory
  device::Device device;
  int device_ranks = 1;  ///< of them on this GPU, that share its memory

  bool is_on_gpu() const { return device.kind == device::DeviceKind::cuda; }
};

/// Of a rank alone: on the device of the config.
Place place_alone(const RunConfig& config);

struct Seating {
  Place place;                    ///< of this rank
  std::vector<comm::Seat> seats;  ///< of all
};

/// The ranks of a machine take its GPUs in turn. SharedError(usage) when some ranks would compute
/// on GPUs and others on the CPU. Collective.
Seating find_seats(const RunConfig& config, comm::Communicator& ranks);

/// Where a run computes, for the log, and with training.device=auto why on no GPU; empty in a
/// program that knows none.
std::string device_text(const RunConfig& config, device::Device device);

/// What gradients and weights go through between ranks, by parallel.transport; null for a rank
/// alone, unless NCCL is asked for, which a rank alone may try. Logs the choice where there are
/// GPUs. Collective.
std::unique_ptr<comm::Communicator> open_channel(const RunConfig& config, const Seating& seating,
                                                 comm::Communicator& ranks);

}  // namespace ssmax::train
