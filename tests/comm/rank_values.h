#pragma once

#include <cmath>
#include <vector>

#include "base/random.h"
#include "comm/communicator.h"

namespace ssmax::comm {

/// Element i of a rank: of either sign and of sizes that make the order of a sum visible.
inline double value_of(int rank, std::int64_t i) {
  const auto index = static_cast<std::uint64_t>(i);
  const auto bits = base::random_bits(5, static_cast<std::uint64_t>(rank), index);
  const double mantissa = static_cast<double>(bits % 20'000'003) - 10'000'001.0;
  return std::ldexp(mantissa, static_cast<int>((i + rank) % 24) - 24);
}

template <class T>
std::vector<T> values(int rank, std::int64_t count) {
  std::vector<T> result(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    result[static_cast<std::size_t>(i)] = static_cast<T>(value_of(rank, i));
  }
  return result;
}

/// The sum as the contract says, one rank after the other.
template <class T>
std::vector<T> expected_sum(int ranks, std::int64_t count, Wire wire) {
  std::vector<T> total(static_cast<std::size_t>(count));
  const auto sent = [&](T value) {
    return wire == Wire::full ? value : static_cast<T>(device::Bf16(static_cast<float>(value)));
  };
  for (int rank = 0; rank < ranks; ++rank) {
    const std::vector<T> part = values<T>(rank, count);
    for (std::size_t i = 0; i < total.size(); ++i) total[i] += sent(part[i]);
  }
  for (T& value : total) value = sent(value);
  return total;
}

}  // namespace ssmax::comm
