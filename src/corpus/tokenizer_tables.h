#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "corpus/tokenizer.h"

namespace ssmax::corpus {

/// The rank and result of a merge, found by its two tokens: open addressing, at most half full.
class MergeTable {
 public:
  static constexpr std::int32_t kNone = std::numeric_limits<std::int32_t>::max();

  struct Entry {
    std::uint64_t key = kEmpty;
    std::int32_t rank = kNone;
    std::int32_t result = 0;
  };

  explicit MergeTable(const std::vector<Merge>& merges);

  /// The merge of these two, or an entry with rank kNone.
  const Entry& find(std::int32_t left, std::int32_t right) const {
    const std::uint64_t wanted = key(left, right);
    std::uint64_t slot = place(wanted);
    while (entries_[slot].key != wanted && entries_[slot].key != kEmpty) slot = (slot + 1) & mask_;
    return entries_[slot];
  }

 private:
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};

  static std::uint64_t key(std::int32_t left, std::int32_t right) {
    return (std::uint64_t{static_cast<std::uint32_t>(left)} << 32) |
           static_cast<std::uint32_t>(right);
  }
  /// Fibonacci hashing of the folded key: the upper bits of the product depend on all of it.
  std::uint64_t place(std::uint64_t k) const {
    return ((k ^ (k >> 29)) * 0x9E3779B97F4A7C15ULL) >> shift_;
  }

  int shift_;
  std::uint64_t mask_;
  std::vector<Entry> entries_;
};

struct Tokenizer::Tables {
  explicit Tables(Vocabulary v);

  Vocabulary vocabulary;
  std::array<std::int32_t, 256> byte_ids;
  MergeTable merges;
  std::vector<bool> is_special;  // by id
};

}  // namespace ssmax::corpus
