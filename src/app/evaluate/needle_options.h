#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/evaluate/evaluate.h"
#include "corpus/haystack.h"
#include "corpus/needle.h"
#include "evaluation/needle.h"

namespace ssmax::app {

/// What the tasks `needle` and `attention` have in common.
struct NeedleOptions {
  std::vector<std::string> haystack;
  std::string tokenizer;
  ResultFile result;
  std::vector<std::int64_t> contexts;
  std::int64_t trials = 20;
  std::int64_t batch = 0;
  std::uint64_t seed = 1;
  corpus::NeedleSplit needles = corpus::NeedleSplit::test;

  void add_to(CLI::App& task);

  evaluation::NeedleTrials trials_of(std::int64_t context) const;
  /// With a progress line.
  corpus::Haystack read_haystack(const corpus::Tokenizer& from) const;
};

}  // namespace ssmax::app
