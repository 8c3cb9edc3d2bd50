#include "evaluation/logits.h"

#include <cstdio>

#include "app/evaluate/evaluate.h"
#include "base/progress.h"
#include "checkpoint/safetensors.h"

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
  corpus::DataConfig data;
  data.sequence_length = length;
  corpus::LoaderOptions source = corpus::sequential_loader(data, options.data, vocab_size, 1);
  source.least_samples = options.sequences;
  corpus::Loader loader(source);
  base::Progress progress("evaluate logits", options.sequences * length, {.unit = "tokens"});
  const evaluation::SequenceLogits all =
      evaluation::all_logits(open.stream, open.model, loader, options.sequences,
                             [&](std::int64_t tokens) { progress.advance(tokens); });
  progress.finish();
  const std::vector<checkpoint::NamedTensor> tensors = {
      {"tokens", device::view(all.tokens.data(), {options.sequences, length})},
      {"logits", device::view(all.logits.data(), {options.sequences, length, vocab_size})}};
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
