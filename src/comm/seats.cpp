#include "comm/seats.h"

#include <algorithm>
#include <optional>

#include "base/errors.h"
#include "base/text.h"
#include "comm/open_nccl.h"
#include "device/gpus.h"
#include "device/launch.h"

namespace ssmax::comm {

namespace {

constexpr char kSeparator = '\n';

std::string to_line(const Seat& seat) {
  std::string text = std::to_string(seat.gpu);
  for (const std::string* part : {&seat.bus, &seat.nccl, &seat.missing}) {
    text += kSeparator + *part;
  }
  return text;
}

Seat from_line(const std::string& host, const std::string& line) {
  const std::vector<std::string> parts = base::split(line, kSeparator);
  return {host, std::stoi(parts.at(0)), parts.at(1), parts.at(2), parts.at(3)};
}

std::string ranks_text(std::span<const int> ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == ranks.size() ? " and " : ", ") + std::to_string(ranks[i]);
  }
  return text;
}

/// Why NCCL cannot be used.
struct Obstacle {
  base::ErrorKind kind = base::ErrorKind::usage;
  std::string text;    // a clause
  std::string remedy;  // what to do for NCCL
};

std::optional<Obstacle> obstacle_to_nccl(std::span<const Seat> seats) {
  for (std::size_t i = 0; i < seats.size(); ++i) {
    if (!seats[i].on_gpu()) {
      return Obstacle{base::ErrorKind::usage, "rank " + std::to_string(i) + " computes on the CPU",
                      "use training.device=cuda"};
    }
  }
  for (std::size_t i = 0; i < seats.size(); ++i) {
    const std::vector<int> sharing = ranks_at(seats, static_cast<int>(i));
    if (sharing.size() > 1) {
      return Obstacle{base::ErrorKind::usage, ranks_text(sharing) + " share " + seats[i].text(),
                      "start one rank for each GPU"};
    }
  }
  for (std::size_t i = 0; i < seats.size(); ++i) {
    if (seats[i].nccl.empty()) {
      return Obstacle{base::ErrorKind::device,
                      "rank " + std::to_string(i) + " on " + seats[i].host +
                          " has no NCCL: " + seats[i].missing,
                      "mend that"};
    }
    if (seats[i].nccl != seats[0].nccl) {
      return Obstacle{base::ErrorKind::device,
                      "rank " + std::to_string(i) + " on " + seats[i].host + " has NCCL " +
                          seats[i].nccl + ", rank 0 on " + seats[0].host + " has " + seats[0].nccl,
                      "install the same version everywhere"};
    }
  }
  return std::nullopt;
}

}  // namespace

NcclSearch find_nccl() {
  if (device::is_linked<cuda::find_nccl>()) return cuda::find_nccl();
  return {"", "this program was built without it (configure with -DSSMAX_NCCL=ON)"};
}

std::string Seat::text() const {
  return (on_gpu() ? "GPU " + std::to_string(gpu) : "the CPU") + " of " + host;
}

LocalRank local_rank(const Communicator& ranks) {
  LocalRank local;
  for (int rank = 0; rank < ranks.size(); ++rank) {
    if (ranks.host(rank) != ranks.host(ranks.rank())) continue;
    if (rank < ranks.rank()) ++local.index;
    ++local.count;
  }
  return local;
}

std::vector<Seat> gather_seats(Communicator& ranks, device::Device device, Transport wanted) {
  Seat mine;
  if (device.kind == device::DeviceKind::cuda) {
    mine.gpu = device.index;
    mine.bus = device::bus_of(device);
  }
  if (mine.on_gpu() &&
      (wanted == Transport::nccl || (wanted == Transport::automatic && ranks.size() > 1))) {
    const NcclSearch nccl = find_nccl();
    mine.nccl = nccl.version;
    mine.missing = nccl.missing;
    std::ranges::replace(mine.missing, kSeparator, ' ');
  }
  std::vector<Seat> seats;
  for (const std::string& line : ranks.gather_texts(to_line(mine))) {
    seats.push_back(from_line(ranks.host(static_cast<int>(seats.size())), line));
  }
  return seats;
}

std::vector<int> ranks_at(std::span<const Seat> seats, int rank) {
  const Seat& mine = seats[static_cast<std::size_t>(rank)];
  std::vector<int> ranks;
  for (int other = 0; other < static_cast<int>(seats.size()); ++other) {
    const Seat& seat = seats[static_cast<std::size_t>(other)];
    const bool same = mine.on_gpu() && seat.host == mine.host && seat.bus == mine.bus;
    if (other == rank || same) ranks.push_back(other);
  }
  return ranks;
}

TransportChoice choose_transport(std::span<const Seat> seats, Transport wanted) {
  if (wanted == Transport::host) {
    return {Transport::host, "through host memory, as parallel.transport says"};
  }
  const auto obstacle = obstacle_to_nccl(seats);
  if (!obstacle) return {Transport::nccl, "by NCCL " + seats[0].nccl};
  if (wanted == Transport::nccl) {
    throw base::Error(obstacle->kind, "parallel.transport=nccl: " + obstacle->text + "; " +
                                          obstacle->remedy + ", or use parallel.transport=host");
  }
  return {Transport::host, "through host memory, slower than NCCL: " + obstacle->text};
}

}  // namespace ssmax::comm
