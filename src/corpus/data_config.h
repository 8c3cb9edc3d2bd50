#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "base/config.h"

namespace ssmax::corpus {

enum class DataKind : std::uint8_t {
  stream,      ///< token shards, cut every T tokens
  documents,   ///< token shards, sequences that lie within one document
  supervised,  ///< JSON Lines of prompt and completion
};
constexpr auto enum_names(DataKind) {
  return std::to_array<base::EnumName<DataKind>>({{DataKind::stream, "stream"},
                                                  {DataKind::documents, "documents"},
                                                  {DataKind::supervised, "supervised"}});
}

/// The section "data" of a run's config.
struct DataConfig {
  DataKind kind = DataKind::stream;
  std::vector<std::string> train;
  std::vector<std::string> validation;
  std::string tokenizer;
  std::int64_t sequence_length = 1024;
  bool document_mask = false;
  bool shuffle = true;

  void validate() const {
    if (kind == DataKind::supervised && tokenizer.empty()) {
      throw base::FieldError("tokenizer", "examples must be encoded: name their tokenizer");
    }
  }

  static constexpr auto fields() {
    return std::tuple(
        base::field("kind", &DataConfig::kind,
                    "stream: token shards, cut every sequence_length tokens; documents: token "
                    "shards, sequences that lie within one document; supervised: JSON Lines of "
                    "{\"prompt\": ..., \"completion\": ...}, one example a sequence, loss on "
                    "completions only"),
        base::field("train", &DataConfig::train,
                    "Token shards, or JSON Lines, to train on; globs like train_*.bin"),
        base::field("validation", &DataConfig::validation, "The same to validate on; globs"),
        base::field("tokenizer", &DataConfig::tokenizer,
                    "Of supervised data: bytes, a folder or a tokenizer.json"),
        base::field("sequence_length", &DataConfig::sequence_length, "Tokens of a sequence, T",
                    base::at_least(1)),
        base::field("document_mask", &DataConfig::document_mask,
                    "Attention and n start anew in each document"),
        base::field("shuffle", &DataConfig::shuffle,
                    "Visit the training sequences in a random order, another one each epoch"));
  }
};

}  // namespace ssmax::corpus
