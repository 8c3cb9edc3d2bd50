#include <algorithm>
#include <array>
#include <cstring>
#include <queue>
#include <tuple>

#include "corpus/tokenizer.h"
#include "corpus/tokenizer_tables.h"

namespace ssmax::corpus {

namespace {

/// Up to here the pairs are searched one after the other, which is faster than a heap.
constexpr std::size_t kShortBytes = 64;
constexpr std::size_t kCachedBytes = 16;
constexpr std::size_t kCachedIds = 11;

struct Key {
  std::uint64_t low = 0, high = 0;

  explicit Key(std::string_view text) {
    if (text.size() <= 8) {
      std::memcpy(&low, text.data(), text.size());
    } else {
      std::memcpy(&low, text.data(), 8);
      std::memcpy(&high, text.data() + 8, text.size() - 8);
    }
  }

  std::size_t slot(std::size_t length, int cache_bits) const {
    std::uint64_t mixed = (low ^ length) * 0x9E3779B97F4A7C15ULL;
    mixed = (mixed ^ (mixed >> 32) ^ high) * 0xD6E8FEB86659FD93ULL;
    return mixed >> (64 - cache_bits);
  }
};

/// The longest special token at the front of `text`, or nullptr.
const SpecialToken* special_at(const std::vector<SpecialToken>& tokens, std::string_view text) {
  const SpecialToken* longest = nullptr;
  for (const SpecialToken& token : tokens) {
    if (text.starts_with(token.text) &&
        (longest == nullptr || token.text.size() > longest->text.size())) {
      longest = &token;
    }
  }
  return longest;
}

}  // namespace

/// One pre-token and its ids; one line of the processor's cache.
struct alignas(64) Encoder::CacheLine {
  std::uint64_t low = 0, high = 0;
  std::uint8_t bytes = 0;  // 0: empty
  std::uint8_t count = 0;
  std::array<std::int32_t, kCachedIds> ids{};
};

Encoder::Encoder(const Tokenizer& tokenizer, int cache_bits)
    : tables_(tokenizer.tables_), cache_bits_(cache_bits), cache_(std::size_t{1} << cache_bits) {}
Encoder::~Encoder() = default;
Encoder::Encoder(Encoder&&) noexcept = default;

void Encoder::encode(std::vector<std::int32_t>& ids, std::string_view text, SpecialText special) {
  if (special == SpecialText::ordinary) {
    encode_ordinary(ids, text);
    return;
  }
  const std::vector<SpecialToken>& tokens = tables_->vocabulary.special;
  std::array<bool, 256> starts{};
  for (const SpecialToken& token : tokens) starts[static_cast<unsigned char>(token.text[0])] = true;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const SpecialToken* token = starts[static_cast<unsigned char>(text[at])]
                                    ? special_at(tokens, text.substr(at))
                                    : nullptr;
    if (token == nullptr) {
      ++at;
      continue;
    }
    encode_ordinary(ids, text.substr(begin, at - begin));
    ids.push_back(token->id);
    at += token->text.size();
    begin = at;
  }
  encode_ordinary(ids, text.substr(begin));
}

void Encoder::encode_ordinary(std::vector<std::int32_t>& ids, std::string_view text) {
  splitter_.split(text, [&](std::string_view part) { encode_pre_token(ids, part); });
}

void Encoder::encode_pre_token(std::vector<std::int32_t>& ids, std::string_view text) {
  if (text.size() > kShortBytes) {
    merge_long(ids, text);
    return;
  }
  if (text.size() > kCachedBytes) {
    merge_short(ids, text);
    return;
  }
  const Key key(text);
  CacheLine& line = cache_[key.slot(text.size(), cache_bits_)];
  if (line.low == key.low && line.high == key.high && line.bytes == text.size()) {
    ids.insert(ids.end(), line.ids.begin(), line.ids.begin() + line.count);
    return;
  }
  const std::size_t before = ids.size();
  merge_short(ids, text);
  const std::size_t count = ids.size() - before;
  if (count > kCachedIds) return;
  line.low = key.low;
  line.high = key.high;
  line.bytes = static_cast<std::uint8_t>(text.size());
  line.count = static_cast<std::uint8_t>(count);
  std::copy(ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end(), line.ids.begin());
}

void Encoder::merge_short(std::vector<std::int32_t>& ids, std::string_view text) {
  std::array<std::int32_t, kShortBytes> symbols;
  std::array<const MergeTable::Entry*, kShortBytes> pairs;  // of symbols i and i + 1
  std::size_t count = text.size();
  for (std::size_t i = 0; i < count; ++i) {
    symbols[i] = tables_->byte_ids[static_cast<unsigned char>(text[i])];
  }
  for (std::size_t i = 0; i + 1 < count; ++i) {
    pairs[i] = &tables_->merges.find(symbols[i], symbols[i + 1]);
  }
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < count; ++i) {
      if (pairs[i]->rank < pairs[best]->rank) best = i;
    }
    if (pairs[best]->rank == MergeTable::kNone) break;
    symbols[best] = pairs[best]->result;
    --count;
    for (std::size_t i = best + 1; i < count; ++i) symbols[i] = symbols[i + 1];
    for (std::size_t i = best + 1; i + 1 < count; ++i) pairs[i] = pairs[i + 1];
    if (best > 0) pairs[best - 1] = &tables_->merges.find(symbols[best - 1], symbols[best]);
    if (best + 1 < count) pairs[best] = &tables_->merges.find(symbols[best], symbols[best + 1]);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.begin() + static_cast<std::ptrdiff_t>(count));
}

void Encoder::merge_long(std::vector<std::int32_t>& ids, std::string_view text) {
  // A linked list of symbols and a heap of its pairs, so that a run of a million equal characters
  // takes n log n steps. A heap entry is stale when its pair is no longer what stands there.
  struct Symbol {
    std::int32_t id;
    std::int64_t previous, next;
  };
  struct Pair {
    std::int32_t rank;
    std::int64_t at;
    std::int32_t left, right, result;
    bool operator>(const Pair& other) const {
      return std::tie(rank, at) > std::tie(other.rank, other.at);
    }
  };
  const std::int64_t count = std::ssize(text);
  std::vector<Symbol> symbols(text.size());
  std::priority_queue<Pair, std::vector<Pair>, std::greater<>> pairs;
  const auto symbol = [&](std::int64_t at) -> Symbol& {
    return symbols[static_cast<std::size_t>(at)];
  };
  const auto add = [&](std::int64_t at) {
    if (at < 0 || symbol(at).next >= count) return;
    const std::int32_t left = symbol(at).id;
    const std::int32_t right = symbol(symbol(at).next).id;
    const MergeTable::Entry& merge = tables_->merges.find(left, right);
    if (merge.rank != MergeTable::kNone) pairs.push({merge.rank, at, left, right, merge.result});
  };
  for (std::int64_t at = 0; at < count; ++at) {
    const auto byte = static_cast<unsigned char>(text[static_cast<std::size_t>(at)]);
    symbol(at) = {tables_->byte_ids[byte], at - 1, at + 1};
  }
  for (std::int64_t at = 0; at < count; ++at) add(at);

  constexpr std::int32_t kGone = -1;
  while (!pairs.empty()) {
    const Pair pair = pairs.top();
    pairs.pop();
    Symbol& left = symbol(pair.at);
    if (left.id != pair.left || left.next >= count || symbol(left.next).id != pair.right) continue;
    symbol(left.next).id = kGone;
    left.id = pair.result;
    left.next = symbol(left.next).next;
    if (left.next < count) symbol(left.next).previous = pair.at;
    add(left.previous);
    add(pair.at);
  }
  for (std::int64_t at = 0; at < count; at = symbol(at).next) ids.push_back(symbol(at).id);
}

}  // namespace ssmax::corpus
