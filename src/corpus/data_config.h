#pragma once

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "base/field.h"

namespace ssmax::corpus {

/// The section "data" of a run's config.
struct DataConfig {
  std::vector<std::string> train;
  std::vector<std::string> validation;
  std::int64_t sequence_length = 1024;
  bool document_mask = false;
  bool shuffle = true;

  static constexpr auto fields() {
    return std::tuple(
        base::field("train", &DataConfig::train,
                    "Token shards to train on; globs like train_*.bin"),
        base::field("validation", &DataConfig::validation, "Token shards to validate on; globs"),
        base::field("sequence_length", &DataConfig::sequence_length, "Tokens of a sequence, T",
                    base::at_least(1)),
        base::field("document_mask", &DataConfig::document_mask,
                    "Attention and n start anew in each document"),
        base::field("shuffle", &DataConfig::shuffle,
                    "Visit the training sequences in a random order, another one each epoch"));
  }
};

}  // namespace ssmax::corpus
