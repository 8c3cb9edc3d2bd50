#include "train/place.h"

#include "base/log.h"
#include "comm/agreement.h"
#include "comm/open_nccl.h"
#include "device/cuda_backend.h"
#include "device/gpus.h"
#include "device/launch.h"

namespace ssmax::train {

namespace {

/// Where each rank computes, and how gradients go between GPUs.
std::string to_text(const Seating& seating, const comm::TransportChoice& choice) {
  std::string text = "gradients between GPUs go " + choice.text + "; rank " +
                     std::to_string(seating.place.rank) + " has " +
                     device::describe(seating.place.device);
  for (std::size_t rank = 0; rank < seating.seats.size(); ++rank) {
    text += "\n  rank " + std::to_string(rank) + ": " + seating.seats[rank].text();
  }
  return text;
}

}  // namespace

Place place_alone(const RunConfig& config) {
  Place place;
  place.device = config.compute_device();
  return place;
}

Seating find_seats(const RunConfig& config, comm::Communicator& ranks) {
  Seating seating;
  Place& place = seating.place;
  place.rank = ranks.rank();
  place.ranks = ranks.size();
  const comm::LocalRank local = comm::local_rank(ranks);
  place.local_ranks = local.count;
  comm::together(ranks, [&] { place.device = config.compute_device(local.index); });
  const bool on_gpu = place.is_on_gpu();
  comm::require_same(ranks, "where ranks compute (training.device)", on_gpu ? "a GPU" : "the CPU");
  seating.seats = comm::gather_seats(ranks, place.device, config.parallel.transport);
  place.device_ranks = static_cast<int>(comm::ranks_at(seating.seats, place.rank).size());
  return seating;
}

std::string device_text(const RunConfig& config, device::Device device) {
  if (!device::is_linked<device::cuda::find_gpus>()) return {};
  std::string text = "on " + device::describe(device);
  if (config.training.device != DeviceChoice::automatic || device.kind != device::DeviceKind::cpu) {
    return text;
  }
  return text + ": " +
         (device::gpus().found.empty() ? device::gpus().reason
                                       : "training.precision=fp64 runs there only");
}

std::unique_ptr<comm::Communicator> open_channel(const RunConfig& config, const Seating& seating,
                                                 comm::Communicator& ranks) {
  const comm::Transport wanted = config.parallel.transport;
  if (ranks.size() == 1 && wanted != comm::Transport::nccl) return nullptr;
  const bool on_gpu = seating.place.is_on_gpu();
  if (!on_gpu && wanted != comm::Transport::nccl) return ranks.duplicate();
  const comm::TransportChoice choice =
      comm::alike([&] { return comm::choose_transport(seating.seats, wanted); });
  if (ranks.is_root()) base::log_info(to_text(seating, choice));
  if (choice.transport == comm::Transport::host) return ranks.duplicate();
  return comm::cuda::open_nccl(ranks, seating.place.device);
}

}  // namespace ssmax::train
