#include <cstdio>

#include "app/evaluate/sequences.h"
#include "base/progress.h"
#include "evaluation/token_losses.h"

namespace ssmax::app {

namespace {

struct LossOptions : SequenceOptions {
  std::string tokenizer;
  ResultFile result;
  std::int64_t sequences = 0;
};

/// Rows of one forward pass.
constexpr std::int64_t kRows = 4096;

evaluation::LossStatistics measure(OpenModel& open, const LossOptions& options, const char* task) {
  const std::int64_t length = options.length(open);
  std::int64_t sequences = options.sequences;
  if (sequences == 0) sequences = options.loader(open, open.config.data, 1, 1).samples();
  const std::int64_t batch = even_batch(sequences, kRows / length);
  corpus::Loader loader = options.loader(open, open.config.data, batch, sequences);
  const auto tokenizer = find_tokenizer(options.tokenizer, options.shards(open),
                                        open.config.model.vocab_size, open.loaded);
  base::Progress progress(std::string("evaluate ") + task, sequences * length, {.unit = "tokens"});
  return evaluation::measure_losses(
      open.stream, open.model, loader, sequences,
      tokenizer ? evaluation::token_bytes(*tokenizer) : evaluation::TokenBytes(),
      [&](std::int64_t tokens) { progress.advance(tokens); });
}

base::JsonValue loss_json(const char* task, const OpenModel& open, std::int64_t length,
                          const evaluation::LossReport& loss, std::int64_t sequences) {
  using base::JsonValue;
  JsonValue json = result_of(task, open);
  json.add("sequence_length", JsonValue::of(length));
  json.add("sequences", JsonValue::of(sequences));
  json.add("tokens", JsonValue::of(loss.tokens));
  json.add("nats_per_token", JsonValue::of(loss.nats_per_token));
  json.add("standard_error", JsonValue::of(loss.standard_error));
  if (loss.bytes > 0) {
    json.add("bytes", JsonValue::of(loss.bytes));
    json.add("bits_per_byte", JsonValue::of(loss.bits_per_byte()));
  }
  return json;
}

base::JsonValue bands_json(const std::vector<evaluation::PositionBand>& bands) {
  using base::JsonValue;
  JsonValue list = JsonValue::array();
  for (const evaluation::PositionBand& band : bands) {
    JsonValue item = JsonValue::object();
    item.add("begin", JsonValue::of(band.begin));
    item.add("end", JsonValue::of(band.end));
    item.add("mean", JsonValue::of(band.mean));
    item.add("standard_error", JsonValue::of(band.standard_error));
    item.add("low", JsonValue::of(band.low));
    item.add("high", JsonValue::of(band.high));
    list.items.push_back(std::move(item));
  }
  return list;
}

void print_loss(const evaluation::LossReport& loss) {
  std::printf("loss %.5f +- %.5f nats/token over %lld tokens", loss.nats_per_token,
              loss.standard_error, static_cast<long long>(loss.tokens));
  if (loss.bytes > 0) {
    std::printf(", %.5f bits/byte over %lld bytes", loss.bits_per_byte(),
                static_cast<long long>(loss.bytes));
  }
  std::printf("\n");
}

void print_bands(const std::vector<evaluation::PositionBand>& bands) {
  std::printf("%18s  %s\n", "positions", "loss, nats/token, and 95 % interval over sequences");
  for (const evaluation::PositionBand& band : bands) {
    std::printf("%8lld .. %6lld  %.4f  %.4f .. %.4f\n", static_cast<long long>(band.begin),
                static_cast<long long>(band.end - 1), band.mean, band.low, band.high);
  }
}

base::JsonValue run_loss(OpenModel& open, const LossOptions& options) {
  const evaluation::LossStatistics statistics = measure(open, options, "loss");
  const evaluation::LossReport loss = statistics.loss();
  print_loss(loss);
  return loss_json("loss", open, options.length(open), loss, statistics.sequences());
}

base::JsonValue run_positions(OpenModel& open, const LossOptions& options) {
  const evaluation::LossStatistics statistics = measure(open, options, "positions");
  const evaluation::LossReport loss = statistics.loss();
  print_loss(loss);
  base::JsonValue json =
      loss_json("positions", open, options.length(open), loss, statistics.sequences());
  const evaluation::PositionReport positions = statistics.positions();
  print_bands(positions.bands);
  json.add("bands", bands_json(positions.bands));
  json.add("mean", json_list(positions.mean));
  json.add("position_standard_error", json_list(positions.standard_error));
  return json;
}

void add_task(CLI::App& evaluate, const std::shared_ptr<Evaluation>& evaluation, const char* name,
              const char* help,
              base::JsonValue (*run)(OpenModel& open, const LossOptions& options)) {
  auto* task = evaluate.add_subcommand(name, help);
  task->allow_extras();
  task->footer(
      "Sequences are cut from the beginning of each shard, one behind the other, whatever\n"
      "documents they meet. With --documents each lies within one document: first those that "
      "begin\n"
      "with a document, then those that follow them.");
  auto options = std::make_shared<LossOptions>();
  options->add_to(*task);
  task->add_option("--sequence-length", options->sequence_length,
                   "Tokens of a sequence; default the training length")
      ->check(positive_number());
  task->add_option("--sequences", options->sequences, "How many; default all")
      ->check(positive_number());
  task->add_option("--tokenizer", options->tokenizer,
                   std::string("For bits per byte: ") + kModelTokenizerHelp);
  options->result.add_to(*task);
  task->callback([evaluation, options, run] {
    evaluate_each(*evaluation, options->result, [&](OpenModel& open, const std::filesystem::path&) {
      return run(open, *options);
    });
  });
}

}  // namespace

void add_loss_tasks(CLI::App& evaluate, const std::shared_ptr<Evaluation>& evaluation) {
  add_task(evaluate, evaluation, "loss", "Mean over all tokens, nats per token and bits per byte",
           run_loss);
  add_task(evaluate, evaluation, "positions", "Mean at every position of the sequence",
           run_positions);
}

}  // namespace ssmax::app
