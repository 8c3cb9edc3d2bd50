#include "evaluation/needle.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>
#include <optional>
#include <span>

#include "app/evaluate/evaluate.h"
#include "base/durable_file.h"
#include "base/format.h"
#include "base/progress.h"
#include "base/read_file.h"
#include "base/strict_json.h"
#include "base/text.h"
#include "evaluation/attention_rows.h"

namespace ssmax::app {

namespace {

using base::JsonValue;
using evaluation::NeedleOutcome;
using evaluation::NeedleQuestion;

/// What both tasks need.
struct NeedleOptions {
  std::vector<std::string> haystack;
  std::string tokenizer;
  ResultFile result;
  std::vector<std::int64_t> contexts;
  std::vector<double> depths = {0.0, 0.25, 0.5, 0.75, 1.0};
  std::int64_t trials = 20;
  std::int64_t batch = 0;
  std::uint64_t seed = 1;
  std::string split = "test";
  std::string city;
  std::int64_t number = 0;
  bool random_depth = false;

  corpus::NeedleSplit needles() const {
    return split == "test" ? corpus::NeedleSplit::test : corpus::NeedleSplit::train;
  }
};

/// Tokens of all contexts that are read side by side: enough to keep the matmuls busy.
constexpr std::int64_t kTokensAtOnce = 65536;

std::int64_t batch_for(const NeedleOptions& options, std::int64_t context) {
  const std::int64_t wanted = options.batch > 0 ? options.batch : kTokensAtOnce / context;
  std::int64_t batch = std::clamp(wanted, std::int64_t{1}, options.trials);
  while (options.trials % batch != 0) --batch;
  return batch;
}

corpus::Haystack read_haystack(const NeedleOptions& options, const corpus::Tokenizer& tokenizer) {
  return {options.haystack, tokenizer, std::numeric_limits<std::int64_t>::max(),
          base::byte_progress("reading haystack")};
}

const char* name_of(NeedleOutcome outcome) {
  switch (outcome) {
    case NeedleOutcome::exact:
      return "exact";
    case NeedleOutcome::first_digit:
      return "first_digit";
    case NeedleOutcome::wrong:
      return "wrong";
  }
  return "";
}

/// One square of the heat map.
struct Cell {
  std::int64_t context = 0;
  double depth = 0.0;
  std::int64_t trials = 0;
  std::int64_t exact = 0;
  std::int64_t first_digit = 0;  ///< exact ones included
  std::vector<std::string> samples;

  double accuracy() const { return static_cast<double>(exact) / static_cast<double>(trials); }
};

/// Wilson's 95 % interval of a share.
std::pair<double, double> wilson(std::int64_t hits, std::int64_t trials) {
  const double z = 1.959964;
  const auto n = static_cast<double>(trials);
  const double p = static_cast<double>(hits) / n;
  const double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
  const double reach = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n);
  return {std::max(0.0, middle - reach), std::min(1.0, middle + reach)};
}

JsonValue json_of(const Cell& cell) {
  const auto n = static_cast<double>(cell.trials);
  const auto [low, high] = wilson(cell.exact, cell.trials);
  JsonValue json = JsonValue::object();
  json.add("context", JsonValue::of(cell.context));
  json.add("depth", JsonValue::of(cell.depth));
  json.add("trials", JsonValue::of(cell.trials));
  json.add("exact", JsonValue::of(cell.accuracy()));
  json.add("low", JsonValue::of(low));
  json.add("high", JsonValue::of(high));
  json.add("first_digit", JsonValue::of(static_cast<double>(cell.first_digit) / n));
  JsonValue samples = JsonValue::array();
  for (const std::string& sample : cell.samples) samples.items.push_back(JsonValue::of(sample));
  json.add("samples", std::move(samples));
  return json;
}

/// Text of a model for a JSON file, which must be UTF-8.
std::string readable(const std::string& text) { return base::printable(text); }

/// All depths of one context size, the deepest first: a shallower needle leaves the beginning of
/// the text as it was.
std::vector<Cell> measure_context(OpenModel& open, const NeedleOptions& options,
                                  const corpus::Tokenizer& tokenizer,
                                  const corpus::Haystack& haystack, std::int64_t context,
                                  base::Progress& progress) {
  constexpr std::size_t kSamples = 3;
  const evaluation::NeedleTrials trials{options.needles(), options.seed, context};
  const corpus::NeedleWriter writer(tokenizer);
  const std::int64_t batch = batch_for(options, context);
  device::Arena arena(open.arena.device());
  evaluation::NeedleReader reader(open.model, tokenizer, batch, context, arena);
  std::vector<Cell> cells;
  for (const double depth : options.depths) cells.push_back({context, depth, 0, 0, 0, {}});
  for (std::int64_t first = 0; first < options.trials; first += batch) {
    for (std::int64_t d = std::ssize(cells) - 1; d >= 0; --d) {
      Cell& cell = cells[static_cast<std::size_t>(d)];
      std::vector<NeedleQuestion> questions;
      for (std::int64_t trial = first; trial < first + batch; ++trial) {
        questions.push_back(evaluation::ask(writer, haystack, trials, trial, cell.depth,
                                            evaluation::needle_of(trials, trial, d)));
      }
      const std::vector<std::string> answers =
          reader.answer(open.stream, questions, {},
                        [&](std::int64_t positions) { progress.advance(batch * positions); });
      for (std::size_t i = 0; i < answers.size(); ++i) {
        const NeedleOutcome outcome = evaluation::judge(questions[i].needle, answers[i]);
        ++cell.trials;
        cell.exact += outcome == NeedleOutcome::exact ? 1 : 0;
        cell.first_digit += outcome != NeedleOutcome::wrong ? 1 : 0;
        if (cell.samples.size() < kSamples) {
          cell.samples.push_back(questions[i].needle.digits() + ":" + readable(answers[i]));
        }
      }
    }
  }
  return cells;
}

JsonValue needle_settings(const NeedleOptions& options, const OpenModel& open) {
  JsonValue json = result_of("needle", open);
  json.add("trials", JsonValue::of(options.trials));
  json.add("seed", JsonValue::of(static_cast<std::int64_t>(options.seed)));
  json.add("needles", JsonValue::of(options.split));
  json.add("depths", json_list(options.depths));
  JsonValue haystack = JsonValue::array();
  for (const std::string& name : options.haystack) haystack.items.push_back(JsonValue::of(name));
  json.add("haystack", std::move(haystack));
  return json;
}

/// The cells of an earlier call with the same settings: a list of objects, by context size.
JsonValue earlier_cells(const std::filesystem::path& file, const JsonValue& settings) {
  if (file.empty() || !std::filesystem::exists(file)) return JsonValue::array();
  JsonValue found = base::parse_json_value(base::read_text_file(file, base::ErrorKind::data),
                                           file.string(), base::ErrorKind::data);
  const JsonValue* cells = found.find("cells");
  if (cells == nullptr || cells->type != JsonValue::Type::array) return JsonValue::array();
  JsonValue result = *cells;
  for (const base::JsonMember& member : settings.members) {
    const JsonValue* other = found.find(member.key);
    if (other == nullptr || base::to_text(*other) != base::to_text(member.value)) {
      return JsonValue::array();
    }
  }
  return result;
}

bool has_context(const JsonValue& cells, std::int64_t context) {
  return std::ranges::any_of(cells.items, [&](const JsonValue& cell) {
    const JsonValue* value = cell.find("context");
    return value != nullptr && value->integer == context;
  });
}

void print_grid(const JsonValue& cells, const NeedleOptions& options) {
  std::printf("exact matches in %%, %lld trials a cell\n%10s",
              static_cast<long long>(options.trials), "context");
  for (const double depth : options.depths) std::printf(" %6.0f%%", 100 * depth);
  std::printf("   depth\n");
  for (const std::int64_t context : options.contexts) {
    std::printf("%10lld", static_cast<long long>(context));
    for (const JsonValue& cell : cells.items) {
      if (cell.find("context")->integer != context) continue;
      const JsonValue& exact = *cell.find("exact");
      std::printf(" %7.0f",
                  100 * (exact.type == JsonValue::Type::integer ? static_cast<double>(exact.integer)
                                                                : exact.number));
    }
    std::printf("\n");
  }
}

JsonValue run_needle(OpenModel& open, const NeedleOptions& options,
                     const std::filesystem::path& file) {
  const corpus::Tokenizer tokenizer = need_tokenizer(options.tokenizer, open);
  const JsonValue settings = needle_settings(options, open);
  JsonValue cells = earlier_cells(file, settings);
  std::vector<std::int64_t> missing;
  for (const std::int64_t context : options.contexts) {
    if (!has_context(cells, context)) missing.push_back(context);
  }
  JsonValue json = settings;
  json.add("cells", cells);
  if (!missing.empty()) {
    const corpus::Haystack haystack = read_haystack(options, tokenizer);
    const std::int64_t work = std::accumulate(missing.begin(), missing.end(), std::int64_t{0}) *
                              std::ssize(options.depths) * options.trials;
    base::Progress progress("evaluate needle", work, {.unit = "tokens"});
    for (const std::int64_t context : missing) {
      for (const Cell& cell :
           measure_context(open, options, tokenizer, haystack, context, progress)) {
        json.find("cells")->items.push_back(json_of(cell));
      }
      // A context size at a time, so that an interrupted call goes on from there.
      if (!file.empty()) base::write_file_atomically(file, base::to_text(json) + "\n");
    }
  }
  print_grid(*json.find("cells"), options);
  return json;
}

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
  json.add("answer", JsonValue::of(readable(answer)));
  json.add("outcome", JsonValue::of(name_of(evaluation::judge(question.needle, answer))));
  json.add("needle", json_list(scores.needle));
  json.add("digits", json_list(scores.digits));
  return json;
}

corpus::Needle needle_for(const NeedleOptions& options, const evaluation::NeedleTrials& trials,
                          std::int64_t trial) {
  corpus::Needle needle = evaluation::needle_of(trials, trial, 0);
  if (!options.city.empty()) needle.city = options.city;
  if (options.number != 0) needle.number = options.number;
  return needle;
}

double depth_of(const NeedleOptions& options, std::int64_t trial) {
  if (!options.random_depth) return options.depths.front();
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
JsonValue attention_trials(OpenModel& open, const NeedleOptions& options,
                           const corpus::Tokenizer& tokenizer, const corpus::Haystack& haystack,
                           std::int64_t context, base::Progress& progress) {
  const corpus::NeedleWriter writer(tokenizer);
  const evaluation::NeedleTrials trials{options.needles(), options.seed, context};
  const std::int64_t batch = batch_for(options, context);
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

JsonValue run_attention(OpenModel& open, const NeedleOptions& options) {
  const corpus::Tokenizer tokenizer = need_tokenizer(options.tokenizer, open);
  const corpus::Haystack haystack = read_haystack(options, tokenizer);
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

void add_common(CLI::App& task, NeedleOptions& options) {
  task.allow_extras();
  task.add_option("--haystack", options.haystack,
                  "Long texts: files, JSON Lines, folders, globs; each trial takes a part of one "
                  "document")
      ->required();
  task.add_option("--contexts", options.contexts, "Tokens of the prompt, several in turn")
      ->required()
      ->delimiter(',')
      ->check(positive_number());
  task.add_option("--trials", options.trials, "Trials of every cell")
      ->capture_default_str()
      ->check(positive_number());
  task.add_option("--batch", options.batch, "Trials side by side; 0 = by the context's size")
      ->capture_default_str()
      ->check(non_negative_number());
  task.add_option("--seed", options.seed, "Of needles and texts")
      ->check(non_negative_number())
      ->capture_default_str();
  task.add_option("--needles", options.split, "Cities and numbers: those of training, or others")
      ->capture_default_str()
      ->check(CLI::IsMember({"test", "train"}));
  task.add_option("--tokenizer", options.tokenizer,
                  "bytes, a folder or a tokenizer.json; default the one beside the shards");
  options.result.add_to(task);
}

}  // namespace

void add_needle_tasks(CLI::App& evaluate, const std::shared_ptr<Evaluation>& evaluation) {
  auto* needle = evaluate.add_subcommand("needle", "Find a number hidden in a long text");
  auto options = std::make_shared<NeedleOptions>();
  add_common(*needle, *options);
  needle
      ->add_option("--depths", options->depths,
                   "Where the needle stands: 0 the beginning, 1 the end")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  needle->footer(
      "\"The special magic CITY number is: NUMBER.\" stands between two sentences of the text, "
      "the\n"
      "question behind it. The answer is decoded greedily; exact: all seven digits; first digit:\n"
      "at least that. With --json a call that was interrupted goes on from the last context size.\n"
      "Example:  ssmax evaluate runs/a_needle runs/b_needle needle --haystack long.jsonl\n"
      "          --contexts 1024,2048,4096 --model.position.theta=500000 --json {name}.json");
  needle->callback([evaluation, options] {
    evaluate_each(*evaluation, options->result,
                  [&](OpenModel& open, const std::filesystem::path& file) {
                    return run_needle(open, *options, file);
                  });
  });

  auto* attention = evaluate.add_subcommand(
      "attention", "The attention that each head pays to the needle when it is asked for");
  options = std::make_shared<NeedleOptions>();
  options->depths = {};
  options->trials = 100;
  add_common(*attention, *options);
  attention->add_option("--depth", options->depths, "Where the needle stands; default at random")
      ->expected(1)
      ->check(CLI::Range(0.0, 1.0));
  attention->add_option("--city", options->city, "Always this city");
  attention->add_option("--number", options->number, "Always this number")
      ->check(CLI::Range(1000000, 9999999));
  attention->footer(
      "Score of a head: the weight that the last token of the prompt puts on the needle, over the\n"
      "whole sentence and over its digits. Weights of some normalizers do not sum to one.");
  attention->callback([evaluation, options] {
    options->random_depth = options->depths.empty();
    evaluate_each(*evaluation, options->result, [&](OpenModel& open, const std::filesystem::path&) {
      return run_attention(open, *options);
    });
  });
}

}  // namespace ssmax::app
