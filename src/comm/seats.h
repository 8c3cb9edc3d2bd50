#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace ssmax::comm {

/// What moves gradients and weights between the GPUs of several ranks.
enum class Transport : std::uint8_t { automatic, nccl, host };
constexpr auto enum_names(Transport) {
  return std::to_array<base::EnumName<Transport>>(
      {{Transport::automatic, "auto"}, {Transport::nccl, "nccl"}, {Transport::host, "host"}});
}

/// Where a rank computes, as all ranks know it.
struct Seat {
  std::string host;
  int gpu = -1;         ///< index within its process; -1 = the processor
  std::string bus;      ///< which GPU of the machine it is, for every process
  std::string nccl;     ///< version of the library; empty when it cannot be used
  std::string missing;  ///< then why

  bool on_gpu() const { return gpu >= 0; }
  std::string text() const;  ///< "GPU 0 of host"
};

/// Which of the ranks of its machine this rank is, and how many they are.
struct LocalRank {
  int index = 0;
  int count = 0;
};
LocalRank local_rank(const Communicator& ranks);

/// Of all ranks. NCCL is looked for where it may be used. Collective.
std::vector<Seat> gather_seats(Communicator& ranks, device::Device device, Transport wanted);

/// Ranks on the same GPU as `rank`, itself included; of one on the processor itself alone.
std::vector<int> ranks_at(std::span<const Seat> seats, int rank);

struct TransportChoice {
  Transport transport = Transport::host;  ///< never automatic
  std::string text;                       ///< a clause for the log: how, and if it is slow why
};

/// NCCL where each rank has a GPU of its own and all have the same version of it; otherwise the
/// memory of the host. The same on all ranks. Error(usage), or Error(device) where NCCL is missing,
/// when NCCL is wanted and cannot be; never when it is left open.
TransportChoice choose_transport(std::span<const Seat> seats, Transport wanted);

}  // namespace ssmax::comm
