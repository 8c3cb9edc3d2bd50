#include <algorithm>
#include <cstdio>

#include "app/evaluate/evaluate.h"
#include "base/progress.h"
#include "evaluation/token_losses.h"

namespace ssmax::app {

namespace {

struct LossOptions {
  std::vector<std::string> data;
  std::string tokenizer;
  ResultFile result;
  std::int64_t sequence_length = 0;
  std::int64_t sequences = 0;
  bool documents = false;
};

/// Rows of one forward pass.
constexpr std::int64_t kRows = 4096;

const std::vector<std::string>& shards_of(const OpenModel& open, const LossOptions& options) {
  return options.data.empty() ? open.config.data.validation : options.data;
}

corpus::Loader open_data(const OpenModel& open, const LossOptions& options, std::int64_t length,
                         std::int64_t batch) {
  corpus::DataConfig data = open.config.data;
  data.sequence_length = length;
  const std::vector<std::string>& files = shards_of(open, options);
  if (files.empty()) {
    throw base::Error(base::ErrorKind::usage,
                      "no data: name token shards with --data, the checkpoint's config has no "
                      "data.validation");
  }
  if (options.documents) {
    data.kind = corpus::DataKind::documents;
  } else if (!options.data.empty()) {
    data.kind = corpus::DataKind::stream;
  }
  return corpus::Loader(
      corpus::sequential_loader(data, files, open.config.model.vocab_size, batch));
}

evaluation::TokenBytes token_bytes(const std::optional<corpus::Tokenizer>& tokenizer) {
  if (!tokenizer) return {};
  std::vector<std::int64_t> bytes;
  for (std::int64_t id = 0; id < tokenizer->vocab_size(); ++id) {
    bytes.push_back(
        tokenizer->is_special(id) ? 0 : static_cast<std::int64_t>(tokenizer->token(id).size()));
  }
  return [bytes = std::move(bytes), name = tokenizer->name()](std::int32_t token) {
    const auto id = static_cast<std::size_t>(token);
    if (id < bytes.size()) return bytes[id];
    throw base::Error(base::ErrorKind::data,
                      "the data holds the token id " + std::to_string(token) + ", the tokenizer " +
                          name + " has " + std::to_string(bytes.size()) +
                          " ids; name the one that made the data with --tokenizer");
  };
}

evaluation::LossStatistics measure(OpenModel& open, const LossOptions& options, const char* task,
                                   std::int64_t length) {
  std::int64_t sequences = options.sequences;
  if (sequences == 0) sequences = open_data(open, options, length, 1).samples();
  const std::int64_t batch = even_batch(sequences, kRows / length);
  corpus::Loader loader = open_data(open, options, length, batch);
  if (loader.samples() < sequences) {
    throw base::Error(base::ErrorKind::data, "the data holds " + std::to_string(loader.samples()) +
                                                 " sequences of " + std::to_string(length) +
                                                 " tokens, asked for " + std::to_string(sequences) +
                                                 "; lower --sequences");
  }
  const auto tokenizer = find_tokenizer(options.tokenizer, shards_of(open, options),
                                        open.config.model.vocab_size, open.loaded);

  model::ActivationOptions shape;
  shape.batch = batch;
  shape.length = length;
  shape.dtype = open.model.dtype();
  shape.purpose = model::Purpose::evaluation;
  model::Activations activations(open.config.model, open.model.attention_row_values(), shape,
                                 open.arena);
  evaluation::TokenLosses losses(open.model, activations, open.arena);
  evaluation::LossStatistics statistics(length);
  base::Progress progress(std::string("evaluate ") + task, sequences * length, {.unit = "tokens"});
  const evaluation::TokenBytes bytes = token_bytes(tokenizer);
  for (std::int64_t done = 0; done < sequences; done += batch) {
    statistics.add(losses.next(open.stream, loader), bytes);
    progress.advance(batch * length);
  }
  return statistics;
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

std::int64_t length_of(const OpenModel& open, const LossOptions& options) {
  return options.sequence_length == 0 ? open.config.data.sequence_length : options.sequence_length;
}

base::JsonValue run_loss(OpenModel& open, const LossOptions& options) {
  const std::int64_t length = length_of(open, options);
  const evaluation::LossStatistics statistics = measure(open, options, "loss", length);
  const evaluation::LossReport loss = statistics.loss();
  print_loss(loss);
  return loss_json("loss", open, length, loss, statistics.sequences());
}

base::JsonValue run_positions(OpenModel& open, const LossOptions& options) {
  const std::int64_t length = length_of(open, options);
  const evaluation::LossStatistics statistics = measure(open, options, "positions", length);
  const evaluation::LossReport loss = statistics.loss();
  print_loss(loss);
  base::JsonValue json = loss_json("positions", open, length, loss, statistics.sequences());
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
  task->add_option("--data", options->data, "Token shards or globs; default data.validation");
  task->add_option("--sequence-length", options->sequence_length,
                   "Tokens of a sequence; default the training length")
      ->check(positive_number());
  task->add_option("--sequences", options->sequences, "How many; default all")
      ->check(positive_number());
  task->add_option("--tokenizer", options->tokenizer,
                   "For bits per byte: bytes, a folder or a tokenizer.json; default the one beside "
                   "the shards, or of the run");
  task->add_flag("--documents", options->documents, "Sequences that lie within one document");
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
