#include <algorithm>
#include <cmath>
#include <cstdio>

#include "app/evaluate/evaluate.h"
#include "base/progress.h"
#include "corpus/loader.h"
#include "evaluation/attention_rows.h"
#include "model/generation.h"

namespace ssmax::app {

namespace {

using base::JsonValue;
using evaluation::RowSpread;

struct FadingOptions {
  std::vector<std::string> data;
  ResultFile result;
  std::int64_t sequence_length = 0;
  std::int64_t sequences = 8;
  bool documents = false;
};

constexpr std::int64_t kTokensAtOnce = 65536;

/// Sizes n whose rows are looked at: two to each doubling, and the longest.
std::vector<std::int64_t> row_lengths(std::int64_t longest) {
  std::vector<std::int64_t> lengths;
  for (int i = 2;; ++i) {
    const auto n = static_cast<std::int64_t>(std::lround(std::exp2(i / 2.0)));
    if (n >= longest) break;
    lengths.push_back(n);
  }
  lengths.push_back(longest);
  return lengths;
}

/// Sums over sequences of what the heads' rows at one n were.
using HeadSpreads = std::vector<RowSpread>;  // (layers * H)

corpus::Loader open_data(const OpenModel& open, const FadingOptions& options, std::int64_t length,
                         std::int64_t batch) {
  corpus::DataConfig data = open.config.data;
  data.sequence_length = length;
  data.document_mask = false;
  data.kind = options.documents ? corpus::DataKind::documents : corpus::DataKind::stream;
  const std::vector<std::string>& files = options.data.empty() ? data.validation : options.data;
  if (files.empty()) {
    throw base::Error(base::ErrorKind::usage, "no data: name token shards with --data");
  }
  return corpus::Loader(
      corpus::sequential_loader(data, files, open.config.model.vocab_size, batch));
}

std::vector<HeadSpreads> measure(OpenModel& open, const FadingOptions& options,
                                 const std::vector<std::int64_t>& lengths) {
  const std::int64_t longest = lengths.back();
  const std::int64_t batch = even_batch(options.sequences, kTokensAtOnce / longest);
  corpus::Loader loader = open_data(open, options, longest, batch);
  const auto heads = static_cast<std::size_t>(open.config.model.heads());
  std::vector<HeadSpreads> spreads(
      lengths.size(),
      HeadSpreads(static_cast<std::size_t>(open.config.model.num_hidden_layers) * heads));
  model::KvDecoder decoder(open.model, batch, longest, open.arena, 256);
  evaluation::AttentionRows rows(open.model, batch, longest, open.arena);
  base::Progress progress("evaluate fading", options.sequences * longest, {.unit = "tokens"});
  std::vector<std::int32_t> part;
  for (std::int64_t done = 0; done < options.sequences; done += batch) {
    const corpus::Batch tokens = loader.next();
    decoder.rewind(0);
    const auto feed = [&](std::int64_t end, const model::AttentionVisitor& visit) {
      part.clear();
      for (std::int64_t b = 0; b < batch; ++b) {
        const auto row = tokens.tokens.begin() + b * longest;
        part.insert(part.end(), row + decoder.position(), row + end);
      }
      if (part.empty()) return;
      decoder.feed(open.stream, part, visit,
                   [&](std::int64_t positions) { progress.advance(batch * positions); });
    };
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      feed(lengths[i] - 1, {});
      feed(lengths[i], rows.visitor(open.stream, [&](const evaluation::AttentionRow& row) {
        for (std::int64_t b = 0; b < batch; ++b) {
          for (std::size_t h = 0; h < heads; ++h) {
            const RowSpread one = evaluation::spread_of(row.of(b, static_cast<std::int64_t>(h)));
            RowSpread& sum = spreads[i][static_cast<std::size_t>(row.block) * heads + h];
            sum.sum += one.sum;
            sum.maximum += one.maximum;
            sum.entropy += one.entropy;
          }
        }
      }));
    }
  }
  return spreads;
}

JsonValue run_fading(OpenModel& open, const FadingOptions& options) {
  const std::int64_t longest =
      options.sequence_length == 0 ? open.config.data.sequence_length : options.sequence_length;
  const std::vector<std::int64_t> lengths = row_lengths(longest);
  const std::vector<HeadSpreads> spreads = measure(open, options, lengths);
  JsonValue json = result_of("fading", open);
  json.add("layers", JsonValue::of(open.config.model.num_hidden_layers));
  json.add("heads", JsonValue::of(open.config.model.heads()));
  json.add("sequences", JsonValue::of(options.sequences));
  JsonValue list = JsonValue::array();
  std::printf(
      "mean over heads of a row's largest weight and entropy (nats; ln n when spread out "
      "evenly)\n%10s %10s %10s %10s\n",
      "n", "maximum", "entropy", "ln n");
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    std::vector<double> maximum;
    std::vector<double> entropy;
    std::vector<double> sum;
    const auto count = static_cast<double>(options.sequences);
    double mean_maximum = 0.0;
    double mean_entropy = 0.0;
    for (const RowSpread& spread : spreads[i]) {
      maximum.push_back(spread.maximum / count);
      entropy.push_back(spread.entropy / count);
      sum.push_back(spread.sum / count);
      mean_maximum += maximum.back() / static_cast<double>(spreads[i].size());
      mean_entropy += entropy.back() / static_cast<double>(spreads[i].size());
    }
    std::printf("%10lld %10.4f %10.4f %10.4f\n", static_cast<long long>(lengths[i]), mean_maximum,
                mean_entropy, std::log(static_cast<double>(lengths[i])));
    JsonValue item = JsonValue::object();
    item.add("n", JsonValue::of(lengths[i]));
    item.add("maximum", json_list(maximum));
    item.add("entropy", json_list(entropy));
    item.add("sum", json_list(sum));
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
  fading->add_option("--data", options->data, "Token shards or globs; default data.validation");
  fading
      ->add_option("--sequence-length", options->sequence_length,
                   "The largest n; default the training length")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 40));
  fading->add_option("--sequences", options->sequences, "How many")
      ->capture_default_str()
      ->check(positive_number());
  fading->add_flag("--documents", options->documents, "Sequences that lie within one document");
  options->result.add_to(*fading);
  fading->callback([evaluation, options] {
    evaluate_each(*evaluation, options->result, [&](OpenModel& open, const std::filesystem::path&) {
      return run_fading(open, *options);
    });
  });
}

}  // namespace ssmax::app
