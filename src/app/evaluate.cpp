#include <algorithm>
#include <cstdio>
#include <iostream>

#include "app/command.h"
#include "app/open_model.h"
#include "base/durable_file.h"
#include "base/format.h"
#include "base/progress.h"
#include "evaluation/token_losses.h"

namespace ssmax::app {

namespace {

struct EvaluateOptions {
  std::string checkpoint;
  std::string task;
  std::vector<std::string> data;
  std::string tokenizer;
  std::string json;
  std::int64_t sequence_length = 0;
  std::int64_t sequences = 0;
};

/// Rows of one forward pass.
constexpr std::int64_t kRows = 4096;

corpus::Loader open_data(const OpenModel& open, const EvaluateOptions& options, std::int64_t length,
                         std::int64_t batch) {
  corpus::LoaderOptions loader;
  loader.files = options.data.empty() ? open.config.data.validation : options.data;
  if (loader.files.empty()) {
    throw base::Error(base::ErrorKind::usage,
                      "no data: name token shards with --data, the checkpoint's config has no "
                      "data.validation");
  }
  loader.sequence_length = length;
  loader.batch_sequences = batch;
  loader.vocab_size = open.config.model.vocab_size;
  loader.order = corpus::Order::sequential;
  loader.document_mask = open.config.data.document_mask;
  return corpus::Loader(loader);
}

/// The largest divisor of `sequences` that keeps a forward pass near kRows rows.
std::int64_t batch_for(std::int64_t sequences, std::int64_t length) {
  std::int64_t batch = std::clamp(kRows / length, std::int64_t{1}, sequences);
  while (sequences % batch != 0) --batch;
  return batch;
}

evaluation::TokenBytes token_bytes(const std::optional<corpus::Tokenizer>& tokenizer) {
  if (!tokenizer) return {};
  std::vector<std::int64_t> bytes;
  for (std::int64_t id = 0; id < tokenizer->vocab_size(); ++id) {
    bytes.push_back(
        tokenizer->is_special(id) ? 0 : static_cast<std::int64_t>(tokenizer->token(id).size()));
  }
  return [bytes = std::move(bytes)](std::int32_t token) {
    return bytes.at(static_cast<std::size_t>(token));
  };
}

evaluation::LossStatistics measure(OpenModel& open, const EvaluateOptions& options,
                                   std::int64_t length) {
  std::int64_t sequences = options.sequences;
  if (sequences == 0) sequences = open_data(open, options, length, 1).samples();
  const std::int64_t batch = batch_for(sequences, length);
  corpus::Loader loader = open_data(open, options, length, batch);
  if (loader.samples() < sequences) {
    throw base::Error(base::ErrorKind::data, "the data holds " + std::to_string(loader.samples()) +
                                                 " sequences of " + std::to_string(length) +
                                                 " tokens, asked for " + std::to_string(sequences) +
                                                 "; lower --sequences");
  }
  const std::vector<std::string>& shards =
      options.data.empty() ? open.config.data.validation : options.data;
  const auto tokenizer = find_tokenizer(options.tokenizer, shards, open.config.model.vocab_size);

  model::ActivationOptions shape;
  shape.batch = batch;
  shape.length = length;
  shape.dtype = open.model.dtype();
  shape.purpose = model::Purpose::evaluation;
  model::Activations activations(open.config.model, open.model.attention_row_values(), shape,
                                 open.arena);
  evaluation::TokenLosses losses(open.model, activations, open.arena);
  evaluation::LossStatistics statistics(length);
  base::ProgressOptions progress_options;
  progress_options.unit = "tokens";
  base::Progress progress("evaluate " + options.task, sequences * length, progress_options);
  const evaluation::TokenBytes bytes = token_bytes(tokenizer);
  for (std::int64_t done = 0; done < sequences; done += batch) {
    statistics.add(losses.next(open.stream, loader), bytes);
    progress.advance(batch * length);
  }
  return statistics;
}

base::JsonValue common_json(const OpenModel& open, const EvaluateOptions& options,
                            std::int64_t length, const evaluation::LossReport& loss,
                            std::int64_t sequences) {
  using base::JsonValue;
  JsonValue json = JsonValue::object();
  json.add("task", JsonValue::of(options.task));
  json.add("checkpoint", JsonValue::of(open.loaded.folder().string()));
  json.add("name", JsonValue::of(open.config.name));
  json.add("step", JsonValue::of(open.loaded.manifest().step));
  json.add("sequence_length", JsonValue::of(length));
  json.add("train_length", JsonValue::of(open.config.data.sequence_length));
  json.add("theta", JsonValue::of(open.config.model.position.theta));
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

void add_numbers(base::JsonValue& json, const char* key, const std::vector<double>& values) {
  base::JsonValue list = base::JsonValue::array();
  for (const double value : values) list.items.push_back(base::JsonValue::of(value));
  json.add(key, std::move(list));
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

/// Mean loss within each doubling of the position.
void print_positions(const evaluation::PositionReport& report) {
  std::printf("%18s  %s\n", "positions", "loss, nats/token");
  for (std::size_t begin = 0; begin < report.mean.size();) {
    const std::size_t end = std::min(report.mean.size(), begin == 0 ? 16 : 2 * begin);
    double sum = 0.0;
    for (std::size_t t = begin; t < end; ++t) sum += report.mean[t];
    std::printf("%8zu .. %6zu  %.4f\n", begin, end - 1, sum / static_cast<double>(end - begin));
    begin = end;
  }
}

void run_evaluate(const CLI::App& command, const EvaluateOptions& options) {
  OpenModel open(options.checkpoint, overrides_of(command));
  const std::int64_t length =
      options.sequence_length == 0 ? open.config.data.sequence_length : options.sequence_length;
  const evaluation::LossStatistics statistics = measure(open, options, length);
  const evaluation::LossReport loss = statistics.loss();
  print_loss(loss);
  base::JsonValue json = common_json(open, options, length, loss, statistics.sequences());
  if (options.task == "positions") {
    const evaluation::PositionReport positions = statistics.positions();
    print_positions(positions);
    add_numbers(json, "mean", positions.mean);
    add_numbers(json, "position_standard_error", positions.standard_error);
  }
  if (!options.json.empty()) {
    base::write_file_atomically(options.json, base::to_text(json) + "\n");
  }
}

}  // namespace

void add_evaluate(CLI::App& program) {
  auto* command = program.add_subcommand("evaluate", "Measure a checkpoint's loss");
  command->footer(
      "Tasks:  loss        mean over all tokens, in nats per token and bits per byte\n"
      "        positions   the mean at every position of the sequence\n"
      "\n"
      "The sequences are the first N L + 1 tokens of each shard, in order. Config keys may be\n"
      "overridden, so that a model can be tested beyond its training length:\n"
      "Example:  ssmax evaluate runs/b positions --data data/books/val_*.bin --sequence-length 1024"
      "\n          --sequences 64 --model.position.theta=500000 --json positions.json");
  command->allow_extras();
  auto options = std::make_shared<EvaluateOptions>();
  command->add_option("CHECKPOINT", options->checkpoint, "A checkpoint or a run's folder")
      ->required();
  command->add_option("TASK", options->task, "What to measure")
      ->required()
      ->check(CLI::IsMember({"loss", "positions"}));
  command->add_option("--data", options->data, "Token shards or globs; default data.validation");
  command
      ->add_option("--sequence-length", options->sequence_length,
                   "Tokens of a sequence; default the training length")
      ->check(CLI::PositiveNumber);
  command->add_option("--sequences", options->sequences, "How many; default all")
      ->check(CLI::PositiveNumber);
  command->add_option("--tokenizer", options->tokenizer,
                      "For bits per byte: bytes, a folder or a tokenizer.json; default the one "
                      "beside the shards");
  command->add_option("--json", options->json, "Write the result to this file too");
  command->callback([command, options] { run_evaluate(*command, *options); });
}

}  // namespace ssmax::app
