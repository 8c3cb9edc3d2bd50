#include "corpus/tokenizer.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include "base/errors.h"
#include "base/hash.h"
#include "corpus/tokenizer_tables.h"

namespace ssmax::corpus {

namespace {

using base::Error;
using base::ErrorKind;

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorKind::data, message); }

std::array<std::int32_t, 256> find_bytes(const Vocabulary& vocabulary) {
  std::array<std::int32_t, 256> ids;
  ids.fill(-1);
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string& token = vocabulary.tokens[id];
    if (token.size() == 1)
      ids[static_cast<unsigned char>(token[0])] = static_cast<std::int32_t>(id);
  }
  for (const SpecialToken& special : vocabulary.special) {
    if (special.text.size() == 1) fail("the special token \"" + special.text + "\" is one byte");
  }
  for (std::size_t byte = 0; byte < ids.size(); ++byte) {
    if (ids[byte] < 0) {
      fail("the vocabulary has no token for the byte " + std::to_string(byte) +
           "; byte-level BPE needs all 256");
    }
  }
  return ids;
}

void check_merges(const Vocabulary& vocabulary) {
  const auto count = static_cast<std::int64_t>(vocabulary.tokens.size());
  for (std::size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const auto [left, right, result] = vocabulary.merges[rank];
    const auto token = [&](std::int32_t id) -> const std::string& {
      if (id < 0 || id >= count) {
        fail("merge " + std::to_string(rank) + " names the id " + std::to_string(id) +
             ", which is not below the vocabulary size " + std::to_string(count));
      }
      return vocabulary.tokens[static_cast<std::size_t>(id)];
    };
    if (token(left) + token(right) != token(result)) {
      fail("merge " + std::to_string(rank) + " does not give the token it names");
    }
  }
}

}  // namespace

MergeTable::MergeTable(const std::vector<Merge>& merges) {
  const std::uint64_t capacity = std::bit_ceil(std::max<std::uint64_t>(2 * merges.size(), 2));
  shift_ = 64 - std::countr_zero(capacity);
  mask_ = capacity - 1;
  entries_.resize(capacity);
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const Merge& merge = merges[rank];
    std::uint64_t slot = place(key(merge.left, merge.right));
    while (entries_[slot].key != kEmpty) {
      if (entries_[slot].key == key(merge.left, merge.right)) {
        fail("merge " + std::to_string(rank) + " repeats merge " +
             std::to_string(entries_[slot].rank));
      }
      slot = (slot + 1) & mask_;
    }
    entries_[slot] = {key(merge.left, merge.right), static_cast<std::int32_t>(rank), merge.result};
  }
}

Tokenizer::Tables::Tables(Vocabulary v)
    : vocabulary(std::move(v)),
      byte_ids(find_bytes(vocabulary)),
      merges(vocabulary.merges),
      is_special(vocabulary.tokens.size()) {
  check_merges(vocabulary);
  const auto count = static_cast<std::int64_t>(vocabulary.tokens.size());
  for (const SpecialToken& special : vocabulary.special) {
    if (special.id < 0 || special.id >= count || special.text.empty()) {
      fail("the special token \"" + special.text + "\" has the id " + std::to_string(special.id) +
           ", expected 0 to " + std::to_string(count - 1) + " and some text");
    }
    is_special[static_cast<std::size_t>(special.id)] = true;
  }
  if (vocabulary.end_of_text < 0 || vocabulary.end_of_text >= count ||
      !is_special[static_cast<std::size_t>(vocabulary.end_of_text)]) {
    fail("the end-of-text token is not one of the special tokens");
  }
}

Tokenizer::Tokenizer(Vocabulary vocabulary)
    : tables_(std::make_shared<const Tables>(std::move(vocabulary))) {}

Tokenizer Tokenizer::byte_level() {
  Vocabulary vocabulary;
  vocabulary.name = "bytes";
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.emplace_back(1, static_cast<char>(byte));
  }
  vocabulary.end_of_text = 256;
  vocabulary.tokens.emplace_back(kEndOfText);
  vocabulary.special.push_back({std::string(kEndOfText), vocabulary.end_of_text});
  return Tokenizer(std::move(vocabulary));
}

Tokenizer Tokenizer::named(const std::string& name) {
  return name == "bytes" ? byte_level() : load(name);
}

void Tokenizer::encode(std::vector<std::int32_t>& ids, std::string_view text,
                       SpecialText special) const {
  // A short text is not worth the 2 MiB that a long one is encoded faster with.
  const int cache_bits = text.size() < (64U << 10) ? 8 : 15;
  Encoder(*this, cache_bits).encode(ids, text, special);
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, SpecialText special) const {
  std::vector<std::int32_t> ids;
  encode(ids, text, special);
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
  std::string text;
  for (const std::int32_t id : ids) text.append(token(id));
  return text;
}

std::string_view Tokenizer::token(std::int64_t id) const {
  if (id < 0 || id >= vocab_size()) {
    fail("token id " + std::to_string(id) + " is not below the vocabulary size " +
         std::to_string(vocab_size()) + " of the tokenizer " + name());
  }
  return tables_->vocabulary.tokens[static_cast<std::size_t>(id)];
}

bool Tokenizer::is_special(std::int64_t id) const {
  return id >= 0 && id < vocab_size() && tables_->is_special[static_cast<std::size_t>(id)];
}

std::int64_t Tokenizer::vocab_size() const { return std::ssize(tables_->vocabulary.tokens); }
std::int32_t Tokenizer::end_of_text() const { return tables_->vocabulary.end_of_text; }
const std::string& Tokenizer::name() const { return tables_->vocabulary.name; }
const Vocabulary& Tokenizer::vocabulary() const { return tables_->vocabulary; }

std::string Tokenizer::hash() const {
  const Vocabulary& v = vocabulary();
  base::Hasher hasher;
  // With its length, so that the tokens "ab", "c" differ from "a", "bc".
  const auto add = [&](const std::string& text) {
    hasher.update(std::to_string(text.size()) + ":" + text);
  };
  for (const std::string& token : v.tokens) add(token);
  hasher.update(std::as_bytes(std::span(v.merges)));
  for (const SpecialToken& special : v.special) {
    add(special.text);
    add(std::to_string(special.id));
  }
  add(std::to_string(v.end_of_text));
  return hasher.hex();
}

}  // namespace ssmax::corpus
