#include "evaluation/fading.h"

#include <cmath>
#include <cstdio>

#include "app/evaluate/sequences.h"
#include "base/progress.h"

namespace ssmax::app {

namespace {

using base::JsonValue;
using evaluation::FadingRows;
using evaluation::RowSpread;

struct FadingOptions : SequenceOptions {
  ResultFile result;
  std::int64_t sequences = 8;
};

std::vector<FadingRows> measure(OpenModel& open, const FadingOptions& options) {
  const std::int64_t longest = options.length(open);
  corpus::DataConfig data = open.config.data;
  data.document_mask = false;  // the model sees all that stands before a position
  data.kind = corpus::DataKind::stream;
  corpus::Loader loader = options.loader(
      open, data, even_batch(options.sequences, kTokensSideBySide / longest), options.sequences);
  base::Progress progress("evaluate fading", options.sequences * longest, {.unit = "tokens"});
  return evaluation::measure_fading(open.stream, open.model, loader, options.sequences,
                                    [&](std::int64_t tokens) { progress.advance(tokens); });
}

JsonValue of_heads(const FadingRows& rows, double RowSpread::*value) {
  JsonValue list = JsonValue::array();
  for (const RowSpread& head : rows.heads) list.items.push_back(JsonValue::of(head.*value));
  return list;
}

JsonValue run_fading(OpenModel& open, const FadingOptions& options) {
  const std::vector<FadingRows> fading = measure(open, options);
  JsonValue json = result_of("fading", open);
  json.add("layers", JsonValue::of(open.config.model.num_hidden_layers));
  json.add("heads", JsonValue::of(open.config.model.heads()));
  json.add("sequences", JsonValue::of(options.sequences));
  JsonValue list = JsonValue::array();
  std::printf(
      "mean over heads of a row's largest weight and entropy (nats; ln n when spread out "
      "evenly)\n%10s %10s %10s %10s\n",
      "n", "maximum", "entropy", "ln n");
  for (const FadingRows& rows : fading) {
    const RowSpread mean = rows.mean();
    std::printf("%10lld %10.4f %10.4f %10.4f\n", static_cast<long long>(rows.keys), mean.maximum,
                mean.entropy, std::log(static_cast<double>(rows.keys)));
    JsonValue item = JsonValue::object();
    item.add("n", JsonValue::of(rows.keys));
    item.add("maximum", of_heads(rows, &RowSpread::maximum));
    item.add("entropy", of_heads(rows, &RowSpread::entropy));
    item.add("sum", of_heads(rows, &RowSpread::sum));
    list.items.push_back(std::move(item));
  }
  json.add("rows", std::move(list));
  return json;
}

}  // namespace

void add_fading_task(CLI::App& evaluate, const std::shared_ptr<Evaluation>& evaluation) {
  auto* fading = evaluate.add_subcommand(
      "fading", "How far attention spreads out as the number of keys n grows");
  fading->allow_extras();
  fading->footer(
      "Largest weight and entropy of the rows at n = 2, 3, 4, 6, 8, 11 ... of every head, means\n"
      "over sequences. Weights that do not sum to one are divided by their sum for the entropy.");
  auto options = std::make_shared<FadingOptions>();
  options->add_to(*fading);
  fading
      ->add_option("--sequence-length", options->sequence_length,
                   "The largest n; default the training length")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 40));
  fading->add_option("--sequences", options->sequences, "How many")
      ->capture_default_str()
      ->check(positive_number());
  options->result.add_to(*fading);
  fading->callback([evaluation, options] {
    evaluate_each(*evaluation, options->result, [&](OpenModel& open, const std::filesystem::path&) {
      return run_fading(open, *options);
    });
  });
}

}  // namespace ssmax::app
