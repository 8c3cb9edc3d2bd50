#include <algorithm>
#include <cstdio>
#include <numeric>
#include <optional>

#include "app/evaluate/needle_options.h"
#include "base/progress.h"
#include "base/text.h"
#include "evaluation/needle_search.h"

namespace ssmax::app {

namespace {

using base::JsonValue;
using evaluation::NeedleAttention;

struct HeadOptions : NeedleOptions {
  std::optional<double> depth;  // at random without
  std::string city;             // of the trial where empty
  std::int64_t number = 0;      // of the trial where 0
};

JsonValue json_of(const NeedleAttention& trial) {
  const corpus::Needle& needle = trial.hidden.needle;
  JsonValue json = JsonValue::object();
  json.add("city", JsonValue::of(needle.city));
  json.add("number", JsonValue::of(needle.number));
  json.add("depth", JsonValue::of(trial.hidden.depth));
  json.add("answer", JsonValue::of(base::printable(trial.answer)));
  json.add("outcome", JsonValue::of(base::enum_name(evaluation::judge(needle, trial.answer))));
  json.add("needle", json_list(trial.needle));
  json.add("digits", json_list(trial.digits));
  return json;
}

/// What the options say, and where they say nothing what the trial's number gives.
evaluation::HiddenNeedle hide(const HeadOptions& options, const evaluation::NeedleTrials& trials,
                              std::int64_t trial) {
  corpus::Needle needle = evaluation::needle_of(trials, trial, 0);
  if (!options.city.empty()) needle.city = options.city;
  if (options.number != 0) needle.number = options.number;
  return {needle, options.depth
                      ? *options.depth
                      : corpus::random_depth(options.seed, static_cast<std::uint64_t>(trial))};
}

void print_context(std::int64_t context, const std::vector<NeedleAttention>& trials) {
  std::int64_t exact = 0;
  double top = 0.0;
  for (const NeedleAttention& trial : trials) {
    const auto outcome = evaluation::judge(trial.hidden.needle, trial.answer);
    exact += outcome == evaluation::NeedleOutcome::exact ? 1 : 0;
    top += *std::ranges::max_element(trial.needle);
  }
  std::printf(
      "context %lld: %lld of %zu answers exact; largest needle score of a head %.4f in the mean "
      "over trials\n",
      static_cast<long long>(context), static_cast<long long>(exact), trials.size(),
      top / static_cast<double>(trials.size()));
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
    const evaluation::NeedleTrials trials = options.trials_of(context);
    evaluation::NeedleSearch search(open.model, tokenizer, haystack, trials);
    const std::vector<NeedleAttention> measured = search.attention(
        open.stream, [&](std::int64_t trial) { return hide(options, trials, trial); },
        [&](std::int64_t tokens) { progress.advance(tokens); });
    print_context(context, measured);
    JsonValue list = JsonValue::array();
    for (const NeedleAttention& trial : measured) list.items.push_back(json_of(trial));
    JsonValue group = JsonValue::object();
    group.add("context", JsonValue::of(context));
    group.add("trials", std::move(list));
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
      ->check(number_between(0.0, 1.0));
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
