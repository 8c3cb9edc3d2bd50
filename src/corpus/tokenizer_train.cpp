#include "corpus/tokenizer_train.h"

#include <xxhash.h>

#include <algorithm>
#include <deque>
#include <mutex>
#include <queue>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "corpus/byte_characters.h"
#include "corpus/ordered_parallel.h"

namespace ssmax::corpus {

namespace {

constexpr std::int64_t kLeastVocabulary = 257;  // bytes and the end of text
constexpr std::int64_t kLargestVocabulary = 1 << 24;

}  // namespace

std::size_t PreTokenCounts::Hash::operator()(std::string_view text) const {
  return XXH3_64bits(text.data(), text.size());
}

void PreTokenCounts::add(std::string_view text) {
  splitter_.split(text, [&](std::string_view part) {
    ++total_;
    const auto found = counts_.find(part);
    if (found != counts_.end()) {
      ++found->second;
    } else {
      counts_.emplace(part, 1);
    }
  });
}

void PreTokenCounts::add(const PreTokenCounts& other) {
  for (const auto& [text, count] : other.counts_) counts_[text] += count;
  total_ += other.total_;
}

PreTokenCounts count_pre_tokens(const Inputs& inputs, int threads,
                                const std::function<void(std::int64_t)>& progress) {
  PieceReader reader(inputs.files);
  std::mutex mutex;
  std::deque<PreTokenCounts> counts;  // one per thread, and it stays where it is
  std::int64_t done = 0;
  ordered_parallel(
      thread_count(threads), [&] { return reader.next(); },
      [&] {
        const std::lock_guard lock(mutex);
        PreTokenCounts& own = counts.emplace_back();
        return [&own](const Piece& piece) {
          visit_documents(piece,
                          [&](std::string_view text, std::uint64_t, bool) { own.add(text); });
          return piece.file_bytes;
        };
      },
      [&](std::int64_t bytes) {
        done += bytes;
        if (progress) progress(done);
      });
  PreTokenCounts all;
  for (const PreTokenCounts& part : counts) all.add(part);
  return all;
}

/// The state of one training: every unique pre-token as a row of ids, and where each pair occurs.
class VocabularyTrainer {
 public:
  VocabularyTrainer(const PreTokenCounts& counts, const std::string& name) {
    vocabulary_.name = name;
    std::array<std::int32_t, 256> byte_ids{};
    for (const unsigned char byte : bytes_by_character()) {
      byte_ids[byte] = new_token(std::string(1, static_cast<char>(byte)));
    }
    for (const auto& [text, count] : counts.counts_) {
      if (text.size() < 2) continue;
      Word word{{}, count};
      for (const char byte : text) word.ids.push_back(byte_ids[static_cast<unsigned char>(byte)]);
      words_.push_back(std::move(word));
    }
    for (std::size_t i = 0; i < words_.size(); ++i) add_pairs(i);
    for (const auto& [key, pair] : pairs_) push(key);
  }

  /// Makes one token; false when no pair occurs twice.
  bool merge_next() {
    while (!queue_.empty()) {
      const Candidate best = queue_.top();
      queue_.pop();
      const auto pair = pairs_.find(best.key);
      const std::int64_t count = pair == pairs_.end() ? 0 : pair->second.count;
      if (best.count > count) {
        // Counts only fall between pushes, so the candidate goes back to its place.
        queue_.push({count, best.key});
      } else if (best.count == count) {
        if (count < 2) return false;
        merge(best.key);
        return true;
      }
    }
    return false;
  }

  std::int64_t tokens() const { return std::ssize(vocabulary_.tokens); }

  Tokenizer finish() {
    vocabulary_.end_of_text = new_token(std::string(kEndOfText));
    vocabulary_.special.push_back({std::string(kEndOfText), vocabulary_.end_of_text});
    return Tokenizer(std::move(vocabulary_));
  }

 private:
  using Key = std::uint64_t;  // left id << 32 | right id

  struct Word {
    std::vector<std::int32_t> ids;
    std::int64_t count;
  };
  struct Pair {
    std::int64_t count = 0;
    std::vector<std::size_t> words;  // that had the pair at some time; some more than once
  };
  struct Candidate {
    std::int64_t count;
    Key key;
    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : key > other.key;
    }
  };
  struct KeyHash {
    std::size_t operator()(Key key) const {
      return (key ^ (key >> 29)) * 0x9E3779B97F4A7C15ULL >> 16;
    }
  };

  static Key key_of(std::int32_t left, std::int32_t right) {
    return (Key{static_cast<std::uint32_t>(left)} << 32) | static_cast<std::uint32_t>(right);
  }

  std::int32_t new_token(std::string text) {
    const auto id = static_cast<std::int32_t>(vocabulary_.tokens.size());
    ids_.emplace(text, id);
    vocabulary_.tokens.push_back(std::move(text));
    return id;
  }

  void push(Key key) { queue_.push({pairs_.at(key).count, key}); }

  void add_pairs(std::size_t index) {
    const Word& word = words_[index];
    for (std::size_t i = 0; i + 1 < word.ids.size(); ++i) {
      Pair& pair = pairs_[key_of(word.ids[i], word.ids[i + 1])];
      pair.count += word.count;
      if (pair.words.empty() || pair.words.back() != index) pair.words.push_back(index);
    }
  }

  void remove_pairs(const Word& word) {
    for (std::size_t i = 0; i + 1 < word.ids.size(); ++i) {
      pairs_.at(key_of(word.ids[i], word.ids[i + 1])).count -= word.count;
    }
  }

  void merge(Key key) {
    const auto left = static_cast<std::int32_t>(key >> 32);
    const auto right = static_cast<std::int32_t>(key & 0xFFFFFFFF);
    const std::string text = vocabulary_.tokens[static_cast<std::size_t>(left)] +
                             vocabulary_.tokens[static_cast<std::size_t>(right)];
    // Another pair may have given the same text before; a text has one id.
    const auto known = ids_.find(text);
    const std::int32_t result = known != ids_.end() ? known->second : new_token(text);
    vocabulary_.merges.push_back({left, right, result});

    changed_.clear();
    const std::vector<std::size_t> where = std::move(pairs_.at(key).words);
    for (const std::size_t index : where) merge_in_word(index, left, right, result);
    pairs_.erase(key);
    std::sort(changed_.begin(), changed_.end());
    changed_.erase(std::unique(changed_.begin(), changed_.end()), changed_.end());
    for (const Key neighbor : changed_) {
      if (neighbor != key) push(neighbor);
    }
  }

  void merge_in_word(std::size_t index, std::int32_t left, std::int32_t right,
                     std::int32_t result) {
    std::vector<std::int32_t>& ids = words_[index].ids;
    const auto is_pair = [&](std::size_t i) {
      return i + 1 < ids.size() && ids[i] == left && ids[i + 1] == right;
    };
    std::size_t first = 0;
    while (first < ids.size() && !is_pair(first)) ++first;
    if (first == ids.size()) return;
    remove_pairs(words_[index]);
    std::size_t kept = first;
    for (std::size_t i = first; i < ids.size(); ++i) {
      const bool pair = is_pair(i);
      ids[kept++] = pair ? result : ids[i];
      if (pair) ++i;
    }
    ids.resize(kept);
    add_pairs(index);
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      if (ids[i] == result || ids[i + 1] == result) {
        changed_.push_back(key_of(ids[i], ids[i + 1]));
      }
    }
  }

  Vocabulary vocabulary_;
  std::unordered_map<std::string, std::int32_t> ids_;
  std::vector<Word> words_;
  std::unordered_map<Key, Pair, KeyHash> pairs_;
  std::priority_queue<Candidate> queue_;
  std::vector<Key> changed_;
};

Tokenizer train_tokenizer(const PreTokenCounts& counts, std::int64_t vocab_size,
                          const std::string& name,
                          const std::function<void(std::int64_t)>& report) {
  if (vocab_size < kLeastVocabulary || vocab_size > kLargestVocabulary) {
    throw base::Error(base::ErrorKind::usage,
                      "a vocabulary has " + std::to_string(kLeastVocabulary) +
                          " (bytes and the end of text) to " + std::to_string(kLargestVocabulary) +
                          " tokens, found " + std::to_string(vocab_size));
  }
  if (counts.total() == 0) {
    throw base::Error(base::ErrorKind::data, "there is no text to train a vocabulary on");
  }
  VocabularyTrainer trainer(counts, name);
  while (trainer.tokens() + 1 < vocab_size && trainer.merge_next()) {
    if (report) report(trainer.tokens());
  }
  return trainer.finish();
}

}  // namespace ssmax::corpus
