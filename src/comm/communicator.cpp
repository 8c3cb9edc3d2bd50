#include "comm/communicator.h"

#include <algorithm>

namespace ssmax::comm {

std::string Communicator::rank_text(int rank) const {
  return "rank " + std::to_string(rank) + " on " + host(rank);
}

bool Communicator::agree(bool ok) {
  const double mine = ok ? 1.0 : 0.0;
  const std::vector<double> all = gather_values({&mine, 1});
  return std::ranges::all_of(all, [](double value) { return value == 1.0; });
}

}  // namespace ssmax::comm
