#include <algorithm>
#include <cstdio>
#include <numeric>
#include <optional>
#include <span>

#include "app/evaluate/needle_options.h"
#include "base/progress.h"
#include "base/text.h"
#include "evaluation/attention_rows.h"
#include "evaluation/needle.h"

namespace ssmax::app {

namespace {

using base::JsonValue;
using evaluation::NeedleOutcome;
using evaluation::NeedleQuestion;

struct HeadOptions : NeedleOptions {
  std::optional<double> depth;  // at random without
  std::string city;             // of the trial where empty
  std::int64_t number = 0;      // of the trial where 0
};

/// Scores of every head in one trial: weight of the answering position on the needle.
struct HeadScores {
  std::vector<double> needle;  // (layers * H)
  std::vector<double> digits;
};

JsonValue json_of(const NeedleQuestion& question, const std::string& answer,
                  const HeadScores& scores) {
  JsonValue json = JsonValue::object();
  json.add("city", JsonValue::of(question.needle.city));
  json.add("number", JsonValue::of(question.needle.number));
  json.add("depth", JsonValue::of(question.depth));
  json.add("answer", JsonValue::of(base::printable(answer)));
  json.add("outcome", JsonValue::of(base::enum_name(evaluation::judge(question.needle, answer))));
  json.add("needle", json_list(scores.needle));
  json.add("digits", json_list(scores.digits));
  return json;
}

corpus::Needle needle_for(const HeadOptions& options, const evaluation::NeedleTrials& trials,
                          std::int64_t trial) {
  corpus::Needle needle = evaluation::needle_of(trials, trial, 0);
  if (!options.city.empty()) needle.city = options.city;
  if (options.number != 0) needle.number = options.number;
  return needle;
}

double depth_of(const HeadOptions& options, std::int64_t trial) {
  if (options.depth) return *options.depth;
  return corpus::random_depth(options.seed, static_cast<std::uint64_t>(trial));
}

/// Scores of all heads, block after block, of every question of a batch.
class ScoreCollector {
 public:
  explicit ScoreCollector(std::span<const NeedleQuestion> questions)
      : questions_(questions), scores_(questions.size()) {}

  void see(const evaluation::AttentionRow& row) {
    for (std::size_t b = 0; b < questions_.size(); ++b) {
      const corpus::NeedlePrompt& prompt = questions_[b].prompt;
      for (std::int64_t h = 0; h < row.heads; ++h) {
        const auto weights = row.of(static_cast<std::int64_t>(b), h);
        scores_[b].needle.push_back(evaluation::weight_on(weights, prompt.needle));
        scores_[b].digits.push_back(evaluation::weight_on(weights, prompt.digits));
      }
    }
  }
  const std::vector<HeadScores>& scores() const { return scores_; }

 private:
  std::span<const NeedleQuestion> questions_;
  std::vector<HeadScores> scores_;
};

/// All trials of one context size, as a list.
JsonValue attention_trials(OpenModel& open, const HeadOptions& options,
                           const corpus::Tokenizer& tokenizer, const corpus::Haystack& haystack,
                           std::int64_t context, base::Progress& progress) {
  const corpus::NeedleWriter writer(tokenizer);
  const evaluation::NeedleTrials trials{options.needles, options.seed, context};
  const std::int64_t batch = options.batch_for(context);
  device::Arena arena(open.arena.device());
  evaluation::NeedleReader reader(open.model, tokenizer, batch, context, arena);
  evaluation::AttentionRows rows(open.model, batch, context, arena);
  JsonValue list = JsonValue::array();
  std::int64_t exact = 0;
  double top = 0.0;
  for (std::int64_t first = 0; first < options.trials; first += batch) {
    std::vector<NeedleQuestion> questions;
    for (std::int64_t trial = first; trial < first + batch; ++trial) {
      questions.push_back(evaluation::ask(writer, haystack, trials, trial, depth_of(options, trial),
                                          needle_for(options, trials, trial)));
    }
    ScoreCollector collector(questions);
    const std::vector<std::string> answers = reader.answer(
        open.stream, questions,
        rows.visitor(open.stream, [&](const evaluation::AttentionRow& row) { collector.see(row); }),
        [&](std::int64_t positions) { progress.advance(batch * positions); });
    for (std::size_t b = 0; b < questions.size(); ++b) {
      const HeadScores& scores = collector.scores()[b];
      const NeedleOutcome outcome = evaluation::judge(questions[b].needle, answers[b]);
      exact += outcome == NeedleOutcome::exact ? 1 : 0;
      top += *std::ranges::max_element(scores.needle);
      list.items.push_back(json_of(questions[b], answers[b], scores));
    }
  }
  std::printf(
      "context %lld: %lld of %lld answers exact; largest needle score of a head %.4f in "
      "the mean over trials\n",
      static_cast<long long>(context), static_cast<long long>(exact),
      static_cast<long long>(options.trials), top / static_cast<double>(options.trials));
  return list;
}

JsonValue run_attention(OpenModel& open, const HeadOptions& options) {
  const corpus::Tokenizer tokenizer = need_tokenizer(options.tokenizer, open);
  const corpus::Haystack haystack = options.read_haystack(tokenizer);
  JsonValue json = result_of("attention", open);
  json.add("layers", JsonValue::of(open.config.model.num_hidden_layers));
  json.add("heads", JsonValue::of(open.config.model.heads()));
  json.add("seed", JsonValue::of(static_cast<std::int64_t>(options.seed)));
  JsonValue groups = JsonValue::array();
  base::Progress progress(
      "evaluate attention",
      std::accumulate(options.contexts.begin(), options.contexts.end(), std::int64_t{0}) *
          options.trials,
      {.unit = "tokens"});
  for (const std::int64_t context : options.contexts) {
    JsonValue group = JsonValue::object();
    group.add("context", JsonValue::of(context));
    group.add("trials", attention_trials(open, options, tokenizer, haystack, context, progress));
    groups.items.push_back(std::move(group));
  }
  json.add("contexts", std::move(groups));
  return json;
}

}  // namespace

void add_attention_task(CLI::App& evaluate, const std::shared_ptr<Evaluation>& evaluation) {
  auto* attention = evaluate.add_subcommand(
      "attention", "The attention that each head pays to the needle when it is asked for");
  auto options = std::make_shared<HeadOptions>();
  options->trials = 100;
  options->add_to(*attention);
  attention->add_option("--depth", options->depth, "Where the needle stands; default at random")
      ->check(CLI::Range(0.0, 1.0));
  attention->add_option("--city", options->city, "Always this city");
  attention->add_option("--number", options->number, "Always this number")
      ->check(CLI::Range(1000000, 9999999));
  attention->footer(
      "Score of a head: the weight that the last token of the prompt puts on the needle, over the\n"
      "whole sentence and over its digits. Weights of some normalizers do not sum to one.");
  attention->callback([evaluation, options] {
    evaluate_each(*evaluation, options->result, [&](OpenModel& open, const std::filesystem::path&) {
      return run_attention(open, *options);
    });
  });
}

}  // namespace ssmax::app
