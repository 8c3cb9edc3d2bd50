#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "evaluation/attention_rows.h"
#include "evaluation/needle.h"

namespace ssmax::evaluation {

/// The trials of one context size and depth: a square of the heat map.
struct NeedleCell {
  std::int64_t context = 0;
  double depth = 0.0;
  std::int64_t trials = 0;
  std::int64_t exact = 0;
  std::int64_t first_digit = 0;      ///< exact ones included
  std::vector<std::string> samples;  ///< of the first trials: "DIGITS:ANSWER", printable

  void add(const corpus::Needle& needle, const std::string& answer);
  /// Share of the trials.
  double of_trials(std::int64_t hits) const {
    return static_cast<double>(hits) / static_cast<double>(trials);
  }
};

/// What a trial hides, and where.
struct HiddenNeedle {
  corpus::Needle needle;
  double depth = 0.0;
};
using HideNeedle = std::function<HiddenNeedle(std::int64_t trial)>;

/// One trial: what was answered, and how much the position that answers attends to the needle in
/// every head.
struct NeedleAttention {
  HiddenNeedle hidden;
  std::string answer;
  std::vector<double> needle;  // (layers * H), weight on the whole sentence
  std::vector<double> digits;  // (layers * H), on its digits
};

/// Puts a model to all trials of one context size. `progress` is told the tokens of the prompts
/// that are done.
class NeedleSearch {
 public:
  using Progress = std::function<void(std::int64_t tokens)>;

  /// `model` and `haystack` must outlive it.
  NeedleSearch(const model::Model& model, const corpus::Tokenizer& tokenizer,
               const corpus::Haystack& haystack, const NeedleTrials& trials);

  /// A cell for each depth.
  std::vector<NeedleCell> at_depths(Stream& stream, std::span<const double> depths,
                                    const Progress& progress);
  /// Every trial with the needle that `hide` gives.
  std::vector<NeedleAttention> attention(Stream& stream, const HideNeedle& hide,
                                         const Progress& progress);

 private:
  std::vector<NeedleQuestion> questions(std::int64_t first, const HideNeedle& hide) const;
  std::vector<std::string> answer(Stream& stream, std::span<const NeedleQuestion> questions,
                                  const model::AttentionVisitor& visit, const Progress& progress);

  const model::Model& model_;
  const corpus::Haystack& haystack_;
  NeedleTrials trials_;
  corpus::NeedleWriter writer_;
  device::Arena arena_;
  NeedleReader reader_;
};

}  // namespace ssmax::evaluation
