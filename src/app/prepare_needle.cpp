#include <cstdio>
#include <memory>

#include "app/command.h"
#include "base/durable_file.h"
#include "base/errors.h"
#include "base/format.h"
#include "base/json_value.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/utf8.h"
#include "corpus/haystack.h"
#include "corpus/needle.h"

namespace ssmax::app {

namespace {

struct Options {
  std::vector<std::string> inputs;
  std::string tokenizer = "bytes";
  std::string out;
  std::int64_t sequence_length = 1024;
  std::int64_t examples = 10000;
  std::uint64_t seed = 1;
};

constexpr std::uint64_t kLengthStream = base::random_stream("needle length");
/// Text around the needle of the shortest example, tokens.
constexpr std::int64_t kLeastText = 4;

/// One example as a line. Text may take other tokens than the parts it was made of, so that a long
/// example is made again with less text.
std::string example(const Options& options, const corpus::Tokenizer& tokenizer,
                    const corpus::Haystack& haystack, const corpus::NeedleWriter& writer,
                    std::uint64_t index) {
  const corpus::Needle needle =
      corpus::random_needle(corpus::NeedleSplit::train, options.seed, index);
  const std::int64_t most = options.sequence_length - std::ssize(tokenizer.encode(needle.answer()));
  const std::int64_t least = writer.own_tokens(needle) + kLeastText;
  if (least > most) {
    throw base::Error(base::ErrorKind::usage,
                      "--sequence-length " + std::to_string(options.sequence_length) +
                          " has no room for a needle, its question and the answer; at least " +
                          std::to_string(least + options.sequence_length - most) +
                          " are needed with this tokenizer");
  }
  const double length_draw = base::random_uniform(options.seed, kLengthStream, index);
  auto tokens =
      least + static_cast<std::int64_t>(length_draw * static_cast<double>(most - least + 1));
  const double depth = corpus::random_depth(options.seed, index);
  for (;; --tokens) {
    const auto text = haystack.slice(tokens, options.seed, index);
    const corpus::NeedlePrompt prompt = writer.write(text, needle, depth, tokens);
    const std::string words = tokenizer.decode(std::span(prompt.tokens).subspan(1));
    const bool fits = 1 + std::ssize(tokenizer.encode(words)) <= most;
    // A cut through a character leaves bytes that no JSON can hold.
    if (fits && base::find_invalid_utf8(words) == std::string::npos) {
      base::JsonValue line = base::JsonValue::object();
      line.add("prompt", base::JsonValue::of(words));
      line.add("completion", base::JsonValue::of(needle.answer()));
      return base::to_text(line) + "\n";
    }
    if (tokens <= least) {
      throw base::Error(base::ErrorKind::data,
                        "no example of " + std::to_string(least) + " tokens could be made");
    }
  }
}

void run(const Options& options) {
  const corpus::Tokenizer tokenizer = corpus::Tokenizer::named(options.tokenizer);
  const corpus::NeedleWriter writer(tokenizer);
  if (std::filesystem::exists(options.out)) {
    throw base::Error(base::ErrorKind::usage,
                      options.out + " exists; choose another file or remove it");
  }
  make_folder_of(options.out);
  const corpus::Haystack haystack(options.inputs, tokenizer,
                                  options.examples * options.sequence_length,
                                  base::byte_progress("reading"));
  base::Progress progress("writing", options.examples, {.unit = "examples"});
  std::string lines;
  for (std::int64_t i = 0; i < options.examples; ++i) {
    lines += example(options, tokenizer, haystack, writer, static_cast<std::uint64_t>(i));
    progress.advance();
  }
  progress.finish();
  base::write_file_atomically(options.out, lines);
  std::printf("wrote %s: %lld examples of at most %lld tokens\n", options.out.c_str(),
              static_cast<long long>(options.examples),
              static_cast<long long>(options.sequence_length));
}

}  // namespace

void add_prepare_needle(CLI::App& program) {
  auto options = std::make_shared<Options>();
  auto* command = program.add_subcommand("prepare-needle",
                                         "Make examples that teach to find a number in a text");
  command->add_option("inputs", options->inputs, "Texts to hide needles in, as for prepare")
      ->required();
  command->add_option("--tokenizer", options->tokenizer, kTokenizerHelp)->capture_default_str();
  command->add_option("--out", options->out, "JSON Lines file to write; must not exist yet")
      ->required();
  command
      ->add_option("--sequence-length", options->sequence_length,
                   "Tokens of the longest examples; all lengths below are as likely")
      ->capture_default_str()
      ->check(positive_number());
  command->add_option("--examples", options->examples, "How many")
      ->capture_default_str()
      ->check(positive_number());
  command->add_option("--seed", options->seed, "Of needles, texts, lengths and depths")
      ->check(non_negative_number())
      ->capture_default_str();
  command->footer(
      "Lines {\"prompt\": text, needle and question, \"completion\": the number} for data.kind\n"
      "supervised. No city or number of them is one of `ssmax evaluate ... needle`.\n"
      "Example:  ssmax prepare-needle books.jsonl --tokenizer data/mine/tokenizer.json \\\n"
      "              --sequence-length 1024 --out data/needle.jsonl");
  command->callback([options] { run(*options); });
}

}  // namespace ssmax::app
