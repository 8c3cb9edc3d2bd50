#include "corpus/prepare.h"

#include <cstdio>
#include <memory>
#include <string>

#include "app/command.h"
#include "base/format.h"
#include "base/progress.h"
#include "corpus/tokenizer.h"

namespace ssmax::app {

namespace {

struct Options {
  corpus::PrepareOptions prepare;
  std::string tokenizer = "bytes";
  std::string out;
};

void print_split(const char* name, const corpus::ManifestSplit& split) {
  if (split.files.empty()) return;
  std::printf("%-11s %s documents, %s, %s tokens, %.2f bytes per token, %zu shard%s\n", name,
              base::format_count(static_cast<double>(split.documents)).c_str(),
              base::format_bytes(split.text_bytes).c_str(),
              base::format_count(static_cast<double>(split.tokens)).c_str(),
              static_cast<double>(split.text_bytes) / static_cast<double>(split.tokens),
              split.files.size(), split.files.size() == 1 ? "" : "s");
}

void run(const Options& options) {
  const corpus::Tokenizer tokenizer = corpus::Tokenizer::named(options.tokenizer);
  corpus::PrepareOptions prepare = options.prepare;
  prepare.out = options.out;
  const corpus::Manifest manifest =
      corpus::prepare(tokenizer, prepare, base::byte_progress("encoding"));
  print_split("train", manifest.train);
  print_split("validation", manifest.validation);
  if (manifest.validation.files.empty() &&
      (prepare.validation_fraction > 0.0 || !prepare.validation.empty())) {
    std::printf(
        "validation  no document: of so few the fraction chose none; raise it, or give files to "
        "--validation\n");
  }
  if (manifest.skipped_files > 0) {
    std::printf("left out    %lld binary files\n", static_cast<long long>(manifest.skipped_files));
  }
  std::printf("wrote %s (vocabulary %lld, end of text %lld)\n", options.out.c_str(),
              static_cast<long long>(manifest.vocab_size),
              static_cast<long long>(manifest.end_of_text));
}

}  // namespace

void add_prepare(CLI::App& program) {
  auto options = std::make_shared<Options>();
  auto* command = program.add_subcommand("prepare", "Turn text into token shards");
  command
      ->add_option("inputs", options->prepare.inputs,
                   "Text files (one document each), JSON Lines (.jsonl, {\"text\": ...} on each "
                   "line), both also as .gz or .zst, folders, globs")
      ->required();
  command->add_option("--tokenizer", options->tokenizer, kTokenizerHelp)->capture_default_str();
  command->add_option("--out", options->out, "Folder to write; must not exist yet, or be empty")
      ->required();
  auto* fraction =
      command->add_option("--validation-fraction", options->prepare.validation_fraction,
                          "Share of the documents for validation, chosen by their "
                          "hash");
  command
      ->add_option("--validation", options->prepare.validation,
                   "Inputs that are for validation as a whole")
      ->excludes(fraction);
  command->add_option("--shard-tokens", options->prepare.shard_tokens, "Tokens of one shard")
      ->capture_default_str();
  command->add_option("--threads", options->prepare.threads, "0: all cores")
      ->capture_default_str()
      ->check(thread_number());
  command->footer(
      "Writes train_000000.bin, ..., val_000000.bin, ..., manifest.json and tokenizer.json. The\n"
      "end-of-text token stands in front of each document. The output depends on the inputs and\n"
      "not on the number of threads, and OUT appears when it is complete.\n"
      "Example:  ssmax prepare books/ news_*.jsonl --tokenizer gpt2/ --out data/mine \\\n"
      "              --validation-fraction 0.01");
  command->callback([options] { run(*options); });
}

}  // namespace ssmax::app
