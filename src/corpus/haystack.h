#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "corpus/tokenizer.h"

namespace ssmax::corpus {

/// Whether tokens[at] begins a sentence: it is the first, or begins with white space behind a token
/// that ends with . ! ? or a quote after one.
bool starts_sentence(const Tokenizer& tokenizer, std::span<const std::int32_t> tokens,
                     std::size_t at);

/// Whether tokens[at] is the first or begins with white space.
bool starts_word(const Tokenizer& tokenizer, std::span<const std::int32_t> tokens, std::size_t at);

/// Long documents as tokens, to cut texts of any length from.
class Haystack {
 public:
  /// Reads text files, JSON Lines, folders and globs, as `prepare` does, until it has `max_tokens`.
  /// `progress` is told bytes done and all bytes.
  Haystack(std::span<const std::string> inputs, const Tokenizer& tokenizer,
           std::int64_t max_tokens = std::numeric_limits<std::int64_t>::max(),
           const std::function<void(std::int64_t, std::int64_t)>& progress = {});

  std::int64_t tokens() const { return static_cast<std::int64_t>(ids_.size()); }
  std::int64_t documents() const { return static_cast<std::int64_t>(begins_.size()) - 1; }

  /// `count` tokens from the beginning of a sentence on, all of one document where one is long
  /// enough, else with the documents that follow. Which ones is a pure function of seed and index.
  /// Error(data) when all documents together are shorter.
  std::vector<std::int32_t> slice(std::int64_t count, std::uint64_t seed,
                                  std::uint64_t index) const;

 private:
  Tokenizer tokenizer_;
  std::vector<std::int32_t> ids_;
  std::vector<std::int64_t> begins_;  // of every document, and the end of the last
};

}  // namespace ssmax::corpus
