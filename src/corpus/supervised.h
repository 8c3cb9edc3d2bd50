#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "corpus/tokenizer.h"

namespace ssmax::corpus {

/// Examples of a task, {"prompt": "...", "completion": "..."} on each line: the end-of-text token,
/// the prompt, the completion, and the end-of-text token again. Only the completion and the token
/// that ends it are targets. Prompt and completion are encoded apart, as when the model answers.
class SupervisedSamples {
 public:
  /// Reads and encodes all of `files`. Error(data) with file and line for a line that is no such
  /// object, for an empty completion, and for an example with more than `sequence_length` targets
  /// and tokens in front of them.
  SupervisedSamples(std::span<const std::filesystem::path> files, const Tokenizer& tokenizer,
                    std::int64_t sequence_length);

  std::int64_t samples() const { return static_cast<std::int64_t>(examples_.size()); }
  std::int64_t tokens() const { return static_cast<std::int64_t>(ids_.size()); }
  std::int32_t end_of_text() const { return end_of_text_; }
  const std::string& fingerprint() const { return fingerprint_; }

  /// Targets of a sample that count.
  std::int64_t targets(std::int64_t sample) const;
  /// One sample: T tokens, filled up with the end of text, and T targets, kNoTarget where nothing
  /// is predicted.
  void read(std::span<std::int32_t> tokens, std::span<std::int32_t> targets,
            std::int64_t sample) const;

 private:
  struct Example {
    std::size_t begin = 0;  // of its ids
    std::size_t end = 0;
    std::size_t answer = 0;  // of the completion's ids
  };

  void add(const std::string& prompt, const std::string& completion, Encoder& encoder);

  std::int32_t end_of_text_;
  std::vector<std::int32_t> ids_;
  std::vector<Example> examples_;
  std::string fingerprint_;
};

}  // namespace ssmax::corpus
