#include "evaluation/needle.h"

#include <algorithm>
#include <cmath>

namespace ssmax::evaluation {

namespace {

/// A token at least for each of seven digits, for the space in front and for what ends the number.
constexpr std::int64_t kAnswerTokens = 9;
/// New positions of one pass: packing keys for the attention costs less, the more queries share it.
constexpr std::int64_t kChunk = 256;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Positions in which all rows of (B, length) agree between two batches.
std::int64_t common_prefix(std::span<const std::int32_t> a, std::span<const std::int32_t> b,
                           std::int64_t length) {
  if (a.size() != b.size()) return 0;
  std::int64_t common = length;
  for (std::size_t row = 0; row < a.size(); row += static_cast<std::size_t>(length)) {
    const auto part = a.subspan(row, static_cast<std::size_t>(common));
    const auto end = std::mismatch(part.begin(), part.end(), b.begin() + static_cast<long>(row));
    common = end.first - part.begin();
  }
  return common;
}

}  // namespace

NeedleOutcome judge(const corpus::Needle& needle, std::string_view answer) {
  answer.remove_prefix(std::min(answer.find_first_not_of(" \n"), answer.size()));
  const std::string digits = needle.digits();
  if (answer.starts_with(digits) &&
      (answer.size() == digits.size() || !is_digit(answer[digits.size()]))) {
    return NeedleOutcome::exact;
  }
  return answer.starts_with(digits.front()) ? NeedleOutcome::first_digit : NeedleOutcome::wrong;
}

std::pair<double, double> wilson_interval(std::int64_t hits, std::int64_t trials) {
  const double z = 1.959964;
  const auto n = static_cast<double>(trials);
  const double p = static_cast<double>(hits) / n;
  const double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
  const double reach = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n);
  return {std::max(0.0, middle - reach), std::min(1.0, middle + reach)};
}

corpus::Needle needle_of(const NeedleTrials& trials, std::int64_t trial, std::int64_t depth_index) {
  // Contexts and depths have needles of their own.
  const auto index = static_cast<std::uint64_t>((trials.context << 24) + (depth_index << 16));
  return corpus::random_needle(trials.split, trials.seed,
                               index + static_cast<std::uint64_t>(trial));
}

NeedleQuestion ask(const corpus::NeedleWriter& writer, const corpus::Haystack& haystack,
                   const NeedleTrials& trials, std::int64_t trial, double depth,
                   const corpus::Needle& needle) {
  const std::vector<std::int32_t> text =
      haystack.slice(trials.context, trials.seed, static_cast<std::uint64_t>(trial));
  return {needle, depth, writer.write(text, needle, depth, trials.context)};
}

NeedleReader::NeedleReader(const model::Model& model, const corpus::Tokenizer& tokenizer,
                           std::int64_t batch, std::int64_t context, device::Arena& arena)
    : tokenizer_(tokenizer),
      context_(context),
      vocab_size_(model.config().vocab_size),
      decoder_(model, batch, context + kAnswerTokens, arena, kChunk) {}

std::span<const float> NeedleReader::feed(Stream& stream, std::int64_t begin, std::int64_t end,
                                          const model::AttentionVisitor& visit,
                                          const model::FeedProgress& progress) {
  part_.clear();
  for (std::int64_t b = 0; b < batch(); ++b) {
    const auto row = prompts_.begin() + b * context_;
    part_.insert(part_.end(), row + begin, row + end);
  }
  return decoder_.feed(stream, part_, visit, progress);
}

std::vector<std::string> NeedleReader::answer(Stream& stream,
                                              std::span<const NeedleQuestion> questions,
                                              const model::AttentionVisitor& visit,
                                              const model::FeedProgress& progress) {
  std::vector<std::int32_t> prompts;
  for (const NeedleQuestion& question : questions) {
    prompts.insert(prompts.end(), question.prompt.tokens.begin(), question.prompt.tokens.end());
  }
  if (std::ssize(prompts) != batch() * context_) {
    throw std::logic_error("needle prompts must fill the batch");
  }
  const std::int64_t known = std::min(common_prefix(prompts_, prompts, context_), context_ - 1);
  decoder_.rewind(known);
  if (progress) progress(known);
  prompts_ = std::move(prompts);
  // The last token alone, so that only its attention is seen.
  if (known < context_ - 1) feed(stream, known, context_ - 1, {}, progress);
  std::span<const float> logits = feed(stream, context_ - 1, context_, visit, progress);

  std::vector<std::string> answers(questions.size());
  std::vector<bool> ended(questions.size(), false);
  std::vector<std::int32_t> next(questions.size());
  const model::SamplingOptions greedy{.temperature = 0.0};
  for (std::int64_t i = 0; i < kAnswerTokens; ++i) {
    for (std::size_t b = 0; b < next.size(); ++b) {
      const auto row = logits.subspan(b * static_cast<std::size_t>(vocab_size_),
                                      static_cast<std::size_t>(vocab_size_));
      next[b] = model::sample_token(row, greedy, 0);
      ended[b] =
          ended[b] || next[b] == tokenizer_.end_of_text() || next[b] >= tokenizer_.vocab_size();
      if (!ended[b]) answers[b] += tokenizer_.token(next[b]);
    }
    if (i + 1 < kAnswerTokens) logits = decoder_.feed(stream, next);
  }
  return answers;
}

}  // namespace ssmax::evaluation
