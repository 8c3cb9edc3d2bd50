#include <unistd.h>

#include <iostream>

#include "app/command.h"
#include "app/open_model.h"
#include "base/progress.h"
#include "base/utf8.h"
#include "device/core_watch.h"
#include "model/generation.h"

namespace ssmax::app {

namespace {

struct GenerateOptions {
  std::string checkpoint;
  std::string prompt;
  std::string tokenizer;
  std::int64_t tokens = 200;
  model::SamplingOptions sampling;
};

void run_generate(const CLI::App& command, const GenerateOptions& options) {
  OpenModel open(checkpoint::load(options.checkpoint), overrides_of(command));
  const device::CoreWatch cores;
  const corpus::Tokenizer tokenizer = need_tokenizer(options.tokenizer, open);
  std::vector<std::int32_t> tokens{tokenizer.end_of_text()};
  tokenizer.encode(tokens, options.prompt);
  const auto prompt = static_cast<std::int64_t>(tokens.size());

  model::KvDecoder decoder(open.model, 1, prompt + options.tokens, open.arena);
  base::ProgressOptions style;
  style.unit = "tokens";
  base::Progress reading("reading the prompt", prompt, style);
  std::span<const float> logits = decoder.feed(
      open.stream, tokens, {}, [&](std::int64_t positions) { reading.advance(positions); });
  reading.finish();

  // A vocabulary may be larger than the tokenizer's, so that its size is a round number.
  const auto text_ids = static_cast<std::size_t>(tokenizer.vocab_size());
  base::Utf8Stream text;
  std::cout << options.prompt << std::flush;
  // Text that appears on a terminal is progress enough, and a line of progress would cut it up.
  if (::isatty(STDOUT_FILENO) == 1) style.style = base::ProgressOptions::Style::silent;
  base::Progress generating("generating", options.tokens, style);
  for (std::int64_t i = 0; i < options.tokens; ++i) {
    const std::int32_t token = model::sample_token(logits.first(text_ids), options.sampling,
                                                   static_cast<std::uint64_t>(i));
    if (token == tokenizer.end_of_text()) break;
    std::cout << text.push(tokenizer.decode(std::span(&token, 1))) << std::flush;
    if (i + 1 < options.tokens) logits = decoder.feed(open.stream, std::span(&token, 1));
    generating.advance();
  }
  generating.finish();
  std::cout << text.finish() << std::endl;
}

}  // namespace

void add_generate(CLI::App& program) {
  auto* command = program.add_subcommand("generate", "Continue a text with a checkpoint");
  command->footer(
      "Example:  ssmax generate runs/b --prompt \"Once upon a time\" --temperature 0.8 --top-p "
      "0.95");
  command->allow_extras();
  auto options = std::make_shared<GenerateOptions>();
  command->add_option("CHECKPOINT", options->checkpoint, "A checkpoint or a run's folder")
      ->required();
  command->add_option("--prompt", options->prompt, "Text to continue; default none");
  command->add_option("--tokens", options->tokens, "At most so many new tokens")
      ->check(positive_number())
      ->capture_default_str();
  command
      ->add_option("--temperature", options->sampling.temperature,
                   "Divides the logits; 0 takes the most likely token")
      ->check(non_negative_number())
      ->capture_default_str();
  command->add_option("--top-k", options->sampling.top_k, "Only the k most likely; 0 = all")
      ->check(non_negative_number())
      ->capture_default_str();
  command
      ->add_option("--top-p", options->sampling.top_p,
                   "Only the most likely up to this share of probability")
      ->check(number_between(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--seed", options->sampling.seed, "The same seed draws the same text")
      ->check(non_negative_number())
      ->capture_default_str();
  command->add_option("--tokenizer", options->tokenizer, kModelTokenizerHelp);
  command->callback([command, options] { run_generate(*command, *options); });
}

}  // namespace ssmax::app
