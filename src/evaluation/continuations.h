#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "corpus/tokenizer.h"
#include "model/model.h"

namespace ssmax::evaluation {

using device::Stream;

/// A text and how it might go on, as EleutherAI's lm-evaluation-harness asks for it.
struct Continuation {
  std::vector<std::int32_t> context;
  std::vector<std::int32_t> tokens;
};

/// Encodes both as one text and cuts where the context's own tokens end; white space at the end of
/// the context belongs to the continuation. Without a context the end of text stands for it.
Continuation encode_pair(const corpus::Tokenizer& tokenizer, std::string_view context,
                         std::string_view continuation);

struct ContinuationScore {
  double log_likelihood = 0.0;  ///< nats, summed over the continuation's tokens
  bool greedy = false;          ///< every token was the most likely one
};

/// Scores in the order of `continuations`. Of those longer than `max_length` + 1 tokens the last
/// are kept. `progress` is told tokens that are done.
std::vector<ContinuationScore> score(Stream& stream, const model::Model& model,
                                     std::span<const Continuation> continuations,
                                     std::int64_t max_length,
                                     const std::function<void(std::int64_t tokens)>& progress);

/// One question of HellaSwag or of any set of that form.
struct ChoiceQuestion {
  std::string context;
  std::vector<std::string> endings;  // each behind a space
  std::size_t answer = 0;
};

/// HellaSwag as the harness prepares it: the activity, the context, cleaned of marks in brackets.
std::string clean_hellaswag(std::string_view text);

/// Which ending wins: by log-likelihood, and by log-likelihood per character.
struct Choice {
  std::size_t likeliest = 0;
  std::size_t likeliest_per_character = 0;
};
Choice choose(const ChoiceQuestion& question, std::span<const ContinuationScore> scores);

}  // namespace ssmax::evaluation
