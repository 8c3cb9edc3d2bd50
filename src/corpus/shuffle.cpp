#include <cstdint>

#include "base/random.h"
#include "corpus/loader.h"

namespace ssmax::corpus {

std::int64_t shuffled_index(std::uint64_t seed, std::int64_t epoch, std::int64_t index,
                            std::int64_t count) {
  // The stream keeps these draws apart from the others of the same seed.
  constexpr std::uint64_t kStream = base::random_stream("corpus.shuffle");
  const std::uint64_t key = base::random_bits(seed, kStream, static_cast<std::uint64_t>(epoch));
  int half_bits = 1;
  while ((std::int64_t{1} << (2 * half_bits)) < count) ++half_bits;
  const std::uint64_t mask = (std::uint64_t{1} << half_bits) - 1;

  auto value = static_cast<std::uint64_t>(index);
  do {
    std::uint64_t left = value >> half_bits;
    std::uint64_t right = value & mask;
    for (std::uint64_t round = 0; round < 6; ++round) {
      const std::uint64_t mixed = left ^ (base::random_bits(key, round, right) & mask);
      left = right;
      right = mixed;
    }
    value = (left << half_bits) | right;
  } while (value >= static_cast<std::uint64_t>(count));
  return static_cast<std::int64_t>(value);
}

}  // namespace ssmax::corpus
