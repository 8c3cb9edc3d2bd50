#include "corpus/supervised.h"

#include <algorithm>

#include "base/hash.h"
#include "base/json_lines.h"
#include "base/strict_json.h"
#include "corpus/loader.h"

namespace ssmax::corpus {

namespace {

using base::Error;
using base::ErrorKind;

[[noreturn]] void fail(const std::string& file, std::int64_t line, const std::string& reason) {
  throw Error(ErrorKind::data, base::located(file, static_cast<int>(line), "", reason));
}

}  // namespace

SupervisedSamples::SupervisedSamples(std::span<const std::filesystem::path> files,
                                     const Tokenizer& tokenizer, std::int64_t sequence_length)
    : end_of_text_(tokenizer.end_of_text()) {
  base::Hasher hasher;
  Encoder encoder(tokenizer);
  for (const std::filesystem::path& path : files) {
    const std::string file = path.string();
    hasher.update(path.filename().string() + "\n");
    base::visit_json_lines(
        path, ErrorKind::data, [&](const base::JsonValue& value, std::int64_t line) {
          const auto text = [&](const char* key) -> const std::string& {
            return base::string_member(value, key, file, line, ErrorKind::data);
          };
          if (text("completion").empty()) fail(file, line, "the completion is empty");
          add(text("prompt"), text("completion"), encoder);
          const Example& example = examples_.back();
          const auto count = static_cast<std::int64_t>(example.end - example.begin) - 1;
          if (count > sequence_length) {
            fail(file, line,
                 "the example takes " + std::to_string(count) +
                     " tokens, data.sequence_length is " + std::to_string(sequence_length) +
                     "; shorten it or raise data.sequence_length");
          }
        });
  }
  hasher.update(std::as_bytes(std::span(ids_)));
  fingerprint_ = hasher.hex();
}

void SupervisedSamples::add(const std::string& prompt, const std::string& completion,
                            Encoder& encoder) {
  Example example;
  example.begin = ids_.size();
  ids_.push_back(end_of_text_);
  encoder.encode(ids_, prompt);
  example.answer = ids_.size();
  encoder.encode(ids_, completion);
  ids_.push_back(end_of_text_);
  example.end = ids_.size();
  examples_.push_back(example);
}

std::int64_t SupervisedSamples::targets(std::int64_t sample) const {
  const Example& example = examples_[static_cast<std::size_t>(sample)];
  return static_cast<std::int64_t>(example.end - example.answer);
}

void SupervisedSamples::read(std::span<std::int32_t> tokens, std::span<std::int32_t> targets,
                             std::int64_t sample) const {
  const Example& example = examples_[static_cast<std::size_t>(sample)];
  std::fill(tokens.begin(), tokens.end(), end_of_text_);
  std::fill(targets.begin(), targets.end(), kNoTarget);
  const std::size_t count = example.end - example.begin - 1;
  for (std::size_t t = 0; t < count; ++t) {
    const std::size_t next = example.begin + t + 1;
    tokens[t] = ids_[next - 1];
    if (next >= example.answer) targets[t] = ids_[next];
  }
}

}  // namespace ssmax::corpus
