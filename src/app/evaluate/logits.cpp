#include "evaluation/logits.h"

#include <cstdio>

#include "app/evaluate/evaluate.h"
#include "base/progress.h"
#include "checkpoint/safetensors.h"
#include "evaluation/token_losses.h"

namespace ssmax::app {

namespace {

struct LogitsOptions {
  std::vector<std::string> data;
  std::string out;
  ResultFile result;
  std::int64_t sequence_length = 0;
  std::int64_t sequences = 1;
};

base::JsonValue run_logits(OpenModel& open, const LogitsOptions& options) {
  const std::int64_t length = options.sequence_length;
  const std::int64_t vocab_size = open.config.model.vocab_size;
  corpus::LoaderOptions source;
  source.files = options.data;
  source.sequence_length = length;
  source.vocab_size = vocab_size;
  source.order = corpus::Order::sequential;
  corpus::Loader loader(source);

  model::ActivationOptions shape;
  shape.length = length;
  shape.dtype = open.model.dtype();
  shape.purpose = model::Purpose::evaluation;
  model::Activations activations(open.config.model, open.model.attention_row_values(), shape,
                                 open.arena);
  const device::Shape row{1, length};
  const device::Tensor tokens = open.arena.allocate("tokens", device::DType::i32, row);
  const device::Tensor targets = open.arena.allocate("tokens", device::DType::i32, row);

  std::vector<std::int32_t> all_tokens;
  std::vector<float> logits(static_cast<std::size_t>(options.sequences * length * vocab_size));
  base::Progress progress("evaluate logits", options.sequences);
  const auto size = static_cast<std::size_t>(length * vocab_size);
  for (std::int64_t i = 0; i < options.sequences; ++i) {
    const corpus::Batch batch = loader.next();
    all_tokens.insert(all_tokens.end(), batch.tokens.begin(), batch.tokens.end());
    evaluation::all_logits(
        open.stream, std::span(logits).subspan(static_cast<std::size_t>(i) * size, size),
        open.model, activations, evaluation::upload(open.stream, batch, tokens, targets, {}));
    progress.advance();
  }
  progress.finish();
  const std::vector<checkpoint::NamedTensor> tensors = {
      {"tokens", device::view(all_tokens.data(), {options.sequences, length})},
      {"logits", device::view(logits.data(), {options.sequences, length, vocab_size})}};
  checkpoint::write_safetensors(options.out, tensors);
  std::printf("wrote %s: tokens (%lld, %lld), logits (%lld, %lld, %lld)\n", options.out.c_str(),
              static_cast<long long>(options.sequences), static_cast<long long>(length),
              static_cast<long long>(options.sequences), static_cast<long long>(length),
              static_cast<long long>(vocab_size));
  return result_of("logits", open);
}

}  // namespace

void add_logits_task(CLI::App& evaluate, const std::shared_ptr<Evaluation>& evaluation) {
  auto* task = evaluate.add_subcommand("logits", "Write the logits of every position to a file");
  task->allow_extras();
  task->footer(
      "For comparing with other programs: a safetensors file of tokens (B, T) and logits\n"
      "(B, T, V). The sequences are the first of each shard, in order.\n"
      "Example:  ssmax evaluate runs/b logits --data 'data/mine/val_*.bin' \\\n"
      "              --sequence-length 100 --out logits.safetensors --training.precision=fp32");
  auto options = std::make_shared<LogitsOptions>();
  task->add_option("--data", options->data, "Token shards or globs")->required();
  task->add_option("--out", options->out, "The safetensors file to write")->required();
  task->add_option("--sequence-length", options->sequence_length, "Tokens of a sequence")
      ->required()
      ->check(positive_number());
  task->add_option("--sequences", options->sequences, "How many")
      ->check(positive_number())
      ->capture_default_str();
  task->callback([evaluation, options] {
    if (evaluation->checkpoints.size() != 1) {
      throw base::Error(base::ErrorKind::usage, "evaluate logits: name one checkpoint, found " +
                                                    std::to_string(evaluation->checkpoints.size()));
    }
    evaluate_each(*evaluation, options->result, [&](OpenModel& open, const std::filesystem::path&) {
      return run_logits(open, *options);
    });
  });
}

}  // namespace ssmax::app
