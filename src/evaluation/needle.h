#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/field.h"
#include "corpus/haystack.h"
#include "corpus/needle.h"
#include "model/generation.h"

namespace ssmax::evaluation {

using device::Stream;

/// Needle in a haystack: what a model answers when it is asked for a number that stands somewhere
/// in its context.
enum class NeedleOutcome : std::uint8_t { exact, first_digit, wrong };
constexpr auto enum_names(NeedleOutcome) {
  return std::to_array<base::EnumName<NeedleOutcome>>({{NeedleOutcome::exact, "exact"},
                                                       {NeedleOutcome::first_digit, "first_digit"},
                                                       {NeedleOutcome::wrong, "wrong"}});
}

/// exact: the digits and no digit after them; white space in front does not count.
NeedleOutcome judge(const corpus::Needle& needle, std::string_view answer);

/// 95 % interval of the share hits / trials (Wilson, "Probable inference, the law of succession,
/// and statistical inference", 1927).
std::pair<double, double> wilson_interval(std::int64_t hits, std::int64_t trials);

/// The trials of one context size. Which needle and text each has is a pure function of these and
/// of its number. All depths of a trial share the text, so that what stands before the needle is
/// computed once.
struct NeedleTrials {
  corpus::NeedleSplit split = corpus::NeedleSplit::test;
  std::uint64_t seed = 0;
  std::int64_t context = 0;  ///< tokens of a prompt
  std::int64_t count = 1;
  std::int64_t batch = 1;  ///< side by side; divides count
};

struct NeedleQuestion {
  corpus::Needle needle;
  double depth = 0.0;
  corpus::NeedlePrompt prompt;
};

NeedleQuestion ask(const corpus::NeedleWriter& writer, const corpus::Haystack& haystack,
                   const NeedleTrials& trials, std::int64_t trial, double depth,
                   const corpus::Needle& needle);
/// The needle of a trial at the depth of that number.
corpus::Needle needle_of(const NeedleTrials& trials, std::int64_t trial, std::int64_t depth_index);

/// Answers B questions at a time, whose prompts have one length, by greedy decoding.
class NeedleReader {
 public:
  NeedleReader(const model::Model& model, const corpus::Tokenizer& tokenizer, std::int64_t batch,
               std::int64_t context, device::Arena& arena);

  /// What the model says behind each of B prompts. A beginning that all prompts share with those of
  /// the call before is not computed again. `visit` sees the attention of every prompt's last
  /// token, which is where the answer is chosen, and may be empty. `progress` is told the positions
  /// of each prompt that are done.
  std::vector<std::string> answer(Stream& stream, std::span<const NeedleQuestion> questions,
                                  const model::AttentionVisitor& visit = {},
                                  const model::FeedProgress& progress = {});

  std::int64_t batch() const { return decoder_.batch(); }

 private:
  std::span<const float> feed(Stream& stream, std::int64_t begin, std::int64_t end,
                              const model::AttentionVisitor& visit,
                              const model::FeedProgress& progress);

  corpus::Tokenizer tokenizer_;
  std::int64_t context_;
  std::int64_t vocab_size_;
  model::KvDecoder decoder_;
  std::vector<std::int32_t> prompts_;  // (B, context): what the cache holds
  std::vector<std::int32_t> part_;
};

}  // namespace ssmax::evaluation
