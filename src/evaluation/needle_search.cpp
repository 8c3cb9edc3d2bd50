#include "evaluation/needle_search.h"

#include "base/text.h"

namespace ssmax::evaluation {

namespace {

constexpr std::size_t kSamples = 3;  // of a cell

}  // namespace

void NeedleCell::add(const corpus::Needle& needle, const std::string& answer) {
  const NeedleOutcome outcome = judge(needle, answer);
  ++trials;
  exact += outcome == NeedleOutcome::exact ? 1 : 0;
  first_digit += outcome != NeedleOutcome::wrong ? 1 : 0;
  if (samples.size() < kSamples) samples.push_back(needle.digits() + ":" + base::printable(answer));
}

NeedleSearch::NeedleSearch(const model::Model& model, const corpus::Tokenizer& tokenizer,
                           const corpus::Haystack& haystack, const NeedleTrials& trials)
    : model_(model),
      haystack_(haystack),
      trials_(trials),
      writer_(tokenizer),
      arena_(model.parameters().flat_master().device()),
      reader_(model, tokenizer, trials.batch, trials.context, arena_) {}

std::vector<NeedleQuestion> NeedleSearch::questions(std::int64_t first,
                                                    const HideNeedle& hide) const {
  std::vector<NeedleQuestion> all;
  for (std::int64_t trial = first; trial < first + trials_.batch; ++trial) {
    const HiddenNeedle hidden = hide(trial);
    all.push_back(ask(writer_, haystack_, trials_, trial, hidden.depth, hidden.needle));
  }
  return all;
}

std::vector<std::string> NeedleSearch::answer(Stream& stream,
                                              std::span<const NeedleQuestion> questions,
                                              const model::AttentionVisitor& visit,
                                              const Progress& progress) {
  return reader_.answer(stream, questions, visit,
                        [&](std::int64_t positions) { progress(trials_.batch * positions); });
}

std::vector<NeedleCell> NeedleSearch::at_depths(Stream& stream, std::span<const double> depths,
                                                const Progress& progress) {
  std::vector<NeedleCell> cells;
  for (const double depth : depths) cells.push_back({trials_.context, depth, 0, 0, 0, {}});
  for (std::int64_t first = 0; first < trials_.count; first += trials_.batch) {
    // The deepest first: a shallower needle leaves the beginning of the text as it was.
    for (std::int64_t d = std::ssize(cells) - 1; d >= 0; --d) {
      NeedleCell& cell = cells[static_cast<std::size_t>(d)];
      const std::vector<NeedleQuestion> asked = questions(first, [&](std::int64_t trial) {
        return HiddenNeedle{needle_of(trials_, trial, d), cell.depth};
      });
      const std::vector<std::string> answers = answer(stream, asked, {}, progress);
      for (std::size_t b = 0; b < asked.size(); ++b) cell.add(asked[b].needle, answers[b]);
    }
  }
  return cells;
}

std::vector<NeedleAttention> NeedleSearch::attention(Stream& stream, const HideNeedle& hide,
                                                     const Progress& progress) {
  device::Arena arena(stream.device());
  AttentionRows rows(model_, trials_.batch, trials_.context, arena);
  std::vector<NeedleAttention> all;
  for (std::int64_t first = 0; first < trials_.count; first += trials_.batch) {
    const std::vector<NeedleQuestion> asked = questions(first, hide);
    std::vector<NeedleAttention> found(asked.size());
    const auto visit = rows.visitor(stream, [&](const AttentionRow& row) {
      for (std::size_t b = 0; b < asked.size(); ++b) {
        for (std::int64_t h = 0; h < row.heads; ++h) {
          const auto weights = row.of(static_cast<std::int64_t>(b), h);
          found[b].needle.push_back(weight_on(weights, asked[b].prompt.needle));
          found[b].digits.push_back(weight_on(weights, asked[b].prompt.digits));
        }
      }
    });
    const std::vector<std::string> answers = answer(stream, asked, visit, progress);
    for (std::size_t b = 0; b < asked.size(); ++b) {
      found[b].hidden = {asked[b].needle, asked[b].depth};
      found[b].answer = answers[b];
      all.push_back(std::move(found[b]));
    }
  }
  return all;
}

}  // namespace ssmax::evaluation
