#include "train/place.h"

#include "comm/agreement.h"
#include "device/gpus.h"

namespace ssmax::train {

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
  const bool on_gpu = place.device.kind == device::DeviceKind::cuda;
  comm::require_same(ranks, "where ranks compute (training.device)", on_gpu ? "a GPU" : "the CPU");
  seating.seats = comm::gather_seats(ranks, place.device, config.parallel.transport);
  place.device_ranks = static_cast<int>(comm::ranks_at(seating.seats, place.rank).size());
  return seating;
}

std::string to_text(const Seating& seating, const comm::TransportChoice& choice) {
  std::string text = "gradients between GPUs go " + choice.text + "; rank " +
                     std::to_string(seating.place.rank) + " has " +
                     device::describe(seating.place.device);
  for (std::size_t rank = 0; rank < seating.seats.size(); ++rank) {
    text += "\n  rank " + std::to_string(rank) + ": " + seating.seats[rank].text();
  }
  return text;
}

}  // namespace ssmax::train
