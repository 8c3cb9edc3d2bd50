#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "corpus/documents.h"
#include "corpus/tokenizer.h"

namespace ssmax::corpus {

/// How often each pre-token occurs: all that training needs to know of a text.
class PreTokenCounts {
 public:
  void add(std::string_view text);
  void add(const PreTokenCounts& other);

  /// Pre-tokens, counting repeats.
  std::int64_t total() const { return total_; }
  std::int64_t unique() const { return std::ssize(counts_); }

 private:
  friend class VocabularyTrainer;
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const;
  };

  Splitter splitter_;
  std::unordered_map<std::string, std::int64_t, Hash, std::equal_to<>> counts_;
  std::int64_t total_ = 0;
};

/// The counts of all documents of the inputs, on `threads` threads (0: all cores). `progress` is
/// told the bytes of input done so far.
PreTokenCounts count_pre_tokens(const Inputs& inputs, int threads,
                                const std::function<void(std::int64_t)>& progress = {});

/// Byte-level BPE trained on the counts: the most frequent pair of neighbors is merged, again and
/// again; of equally frequent pairs the one with the smaller ids. Ids as GPT-2's: the 256 bytes in
/// the order of their characters, the merges, and the end of text last. `vocab_size` counts all of
/// them; training stops early when no pair occurs twice. `report` is told the tokens made so far.
Tokenizer train_tokenizer(const PreTokenCounts& counts, std::int64_t vocab_size,
                          const std::string& name,
                          const std::function<void(std::int64_t)>& report = {});

}  // namespace ssmax::corpus
