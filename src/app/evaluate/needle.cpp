#include <algorithm>
#include <cstdio>
#include <numeric>

#include "app/evaluate/needle_options.h"
#include "base/durable_file.h"
#include "base/progress.h"
#include "base/read_file.h"
#include "base/strict_json.h"
#include "evaluation/needle_search.h"

namespace ssmax::app {

namespace {

using base::JsonValue;
using evaluation::NeedleCell;

struct SearchOptions : NeedleOptions {
  std::vector<double> depths = {0.0, 0.25, 0.5, 0.75, 1.0};
};

JsonValue json_of(const NeedleCell& cell) {
  const auto [low, high] = evaluation::wilson_interval(cell.exact, cell.trials);
  JsonValue json = JsonValue::object();
  json.add("context", JsonValue::of(cell.context));
  json.add("depth", JsonValue::of(cell.depth));
  json.add("trials", JsonValue::of(cell.trials));
  json.add("exact", JsonValue::of(cell.of_trials(cell.exact)));
  json.add("low", JsonValue::of(low));
  json.add("high", JsonValue::of(high));
  json.add("first_digit", JsonValue::of(cell.of_trials(cell.first_digit)));
  JsonValue samples = JsonValue::array();
  for (const std::string& sample : cell.samples) samples.items.push_back(JsonValue::of(sample));
  json.add("samples", std::move(samples));
  return json;
}

JsonValue needle_settings(const SearchOptions& options, const OpenModel& open) {
  JsonValue json = result_of("needle", open);
  json.add("trials", JsonValue::of(options.trials));
  json.add("seed", JsonValue::of(static_cast<std::int64_t>(options.seed)));
  json.add("needles", JsonValue::of(base::enum_name(options.needles)));
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

void print_grid(const JsonValue& cells, const SearchOptions& options) {
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

JsonValue run_needle(OpenModel& open, const SearchOptions& options,
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
    const corpus::Haystack haystack = options.read_haystack(tokenizer);
    const std::int64_t work = std::accumulate(missing.begin(), missing.end(), std::int64_t{0}) *
                              std::ssize(options.depths) * options.trials;
    base::Progress progress("evaluate needle", work, {.unit = "tokens"});
    for (const std::int64_t context : missing) {
      evaluation::NeedleSearch search(open.model, tokenizer, haystack, options.trials_of(context));
      const std::vector<NeedleCell> measured = search.at_depths(
          open.stream, options.depths, [&](std::int64_t tokens) { progress.advance(tokens); });
      for (const NeedleCell& cell : measured) json.find("cells")->items.push_back(json_of(cell));
      // A context size at a time, so that an interrupted call goes on from there.
      if (!file.empty()) base::write_file_atomically(file, base::to_text(json) + "\n");
    }
  }
  print_grid(*json.find("cells"), options);
  return json;
}

}  // namespace

void add_needle_task(CLI::App& evaluate, const std::shared_ptr<Evaluation>& evaluation) {
  auto* needle = evaluate.add_subcommand("needle", "Find a number hidden in a long text");
  auto options = std::make_shared<SearchOptions>();
  options->add_to(*needle);
  needle
      ->add_option("--depths", options->depths,
                   "Where the needle stands: 0 the beginning, 1 the end")
      ->delimiter(',')
      ->capture_default_str()
      ->check(number_between(0.0, 1.0));
  needle->footer(
      "\"The special magic CITY number is: NUMBER.\" stands between two sentences of a text, and\n"
      "behind the text the question for that number. The answer is decoded greedily; exact: all\n"
      "seven digits; first digit: at least that. With --json a call that was interrupted goes on\n"
      "from the last context size.\n"
      "Example:  ssmax evaluate runs/a_needle runs/b_needle needle --haystack long.jsonl \\\n"
      "              --contexts 1024,2048,4096 --model.position.theta=500000 --json '{name}.json'");
  needle->callback([evaluation, options] {
    evaluate_each(*evaluation, options->result,
                  [&](OpenModel& open, const std::filesystem::path& file) {
                    return run_needle(open, *options, file);
                  });
  });
}

}  // namespace ssmax::app
