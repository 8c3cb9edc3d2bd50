#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "corpus/splitter.h"

namespace ssmax::corpus {

/// Two neighboring tokens that become one; earlier merges of a vocabulary go first.
struct Merge {
  std::int32_t left, right, result;
};

/// A token that stands for something beside text, such as the end of a document.
struct SpecialToken {
  std::string text;
  std::int32_t id;
};

/// Byte-level BPE as data: every byte is a token, the merges are in order of rank.
struct Vocabulary {
  std::string name;                 // "bytes", or the name of the folder or file it came from
  std::vector<std::string> tokens;  // bytes of each id; of a special token, its text
  std::vector<Merge> merges;
  std::vector<SpecialToken> special;
  std::int32_t end_of_text = 0;  // one of `special`
};

/// The name of the file beside shards and in a run's folder.
inline constexpr char kTokenizerFile[] = "tokenizer.json";
inline constexpr std::string_view kEndOfText = "<|endoftext|>";

/// What encoding does with the text of a special token in its input.
enum class SpecialText { ordinary, recognized };

/// Byte-level BPE with GPT-2's split pattern (Sennrich et al., "Neural machine translation of rare
/// words with subword units", ACL 2016; Radford et al. 2019). Any bytes can be encoded, and
/// decoding gives them back. Immutable; copies share the vocabulary; safe for many threads.
class Tokenizer {
 public:
  /// Ids 0..255 are the bytes, 256 is the end of text.
  static Tokenizer byte_level();

  /// `path` is a tokenizer.json of Hugging Face, or a folder that holds tokenizer.json, vocab.json
  /// and merges.txt, or encoder.json and vocab.bpe (the first of these that is there).
  /// Error(data) with file and line when a file is damaged or asks for something that byte-level
  /// BPE with GPT-2's pattern is not.
  static Tokenizer load(const std::filesystem::path& path);

  /// "bytes", or a path for load().
  static Tokenizer named(const std::string& name);

  /// Error(data) when the vocabulary is not consistent.
  explicit Tokenizer(Vocabulary vocabulary);

  /// Appends the ids of `text`. To encode many texts, keep an Encoder.
  void encode(std::vector<std::int32_t>& ids, std::string_view text,
              SpecialText special = SpecialText::ordinary) const;
  std::vector<std::int32_t> encode(std::string_view text,
                                   SpecialText special = SpecialText::ordinary) const;

  /// The bytes of `ids`; Error(data) for an id outside of the vocabulary.
  std::string decode(std::span<const std::int32_t> ids) const;

  /// The bytes of one token; of a special token, its text.
  std::string_view token(std::int64_t id) const;
  bool is_special(std::int64_t id) const;

  std::int64_t vocab_size() const;
  std::int32_t end_of_text() const;
  const std::string& name() const;
  const Vocabulary& vocabulary() const;

  /// 32 hexadecimal digits of tokens, merges and special tokens; the name does not count.
  std::string hash() const;

  /// Writes tokenizer.json, vocab.json and merges.txt into `folder`, which is created, durably.
  /// Hugging Face `tokenizers` and load() read them.
  void save(const std::filesystem::path& folder) const;
  void write_json(const std::filesystem::path& file) const;  // tokenizer.json alone

 private:
  friend class Encoder;
  struct Tables;
  std::shared_ptr<const Tables> tables_;
};

/// Encodes many texts with one tokenizer, for one thread: remembers the ids of pre-tokens.
class Encoder {
 public:
  /// Remembers up to 2^cache_bits pre-tokens, 64 bytes each.
  explicit Encoder(const Tokenizer& tokenizer, int cache_bits = 15);
  ~Encoder();
  Encoder(Encoder&&) noexcept;

  /// Appends the ids of `text`.
  void encode(std::vector<std::int32_t>& ids, std::string_view text,
              SpecialText special = SpecialText::ordinary);

 private:
  struct CacheLine;

  void encode_ordinary(std::vector<std::int32_t>& ids, std::string_view text);
  void encode_pre_token(std::vector<std::int32_t>& ids, std::string_view text);
  void merge_short(std::vector<std::int32_t>& ids, std::string_view text);
  void merge_long(std::vector<std::int32_t>& ids, std::string_view text);

  std::shared_ptr<const Tokenizer::Tables> tables_;
  Splitter splitter_;
  int cache_bits_;
  std::vector<CacheLine> cache_;
};

}  // namespace ssmax::corpus
