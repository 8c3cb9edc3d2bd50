#include "corpus/tokenizer.h"

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "app/command.h"
#include "base/errors.h"
#include "base/progress.h"
#include "base/read_file.h"
#include "base/text.h"
#include "corpus/documents.h"
#include "corpus/tokenizer_train.h"

namespace ssmax::app {

namespace {

struct TrainOptions {
  std::vector<std::string> inputs;
  std::int64_t vocab_size = 0;
  std::string out;
  int threads = 0;
};

struct CodeOptions {
  std::string tokenizer;
  std::string text;
  std::string file;
  bool special = false;
};

void run_train(const TrainOptions& options) {
  const std::filesystem::path out = options.out;
  if (std::filesystem::exists(out / "tokenizer.json")) {
    throw base::Error(base::ErrorKind::usage,
                      (out / "tokenizer.json").string() + " exists; choose another folder");
  }
  const corpus::Inputs inputs = corpus::find_inputs(options.inputs);
  base::Progress reading("counting", inputs.bytes, {.bytes = true});
  const corpus::PreTokenCounts counts = corpus::count_pre_tokens(
      inputs, options.threads, [&](std::int64_t done) { reading.update(done); });
  reading.finish();
  base::Progress merging("merging", options.vocab_size);
  const corpus::Tokenizer tokenizer =
      corpus::train_tokenizer(counts, options.vocab_size, out.filename().string(),
                              [&](std::int64_t tokens) { merging.update(tokens); });
  merging.finish();
  tokenizer.save(out);
  std::printf("wrote %s (vocabulary %lld, end of text %d)\n", options.out.c_str(),
              static_cast<long long>(tokenizer.vocab_size()), tokenizer.end_of_text());
  if (tokenizer.vocab_size() < options.vocab_size) {
    std::printf("fewer than the %lld asked for: in the rest of the text no pair occurs twice\n",
                static_cast<long long>(options.vocab_size));
  }
}

std::string standard_input() { return {std::istreambuf_iterator<char>(std::cin), {}}; }

/// The text of --text, of the file, or of the standard input.
std::string input_of(const CodeOptions& options) {
  if (!options.text.empty()) return options.text;
  if (options.file.empty() || options.file == "-") return standard_input();
  return base::read_text_file(options.file, base::ErrorKind::data);
}

void run_encode(const CodeOptions& options) {
  const corpus::Tokenizer tokenizer = corpus::Tokenizer::named(options.tokenizer);
  std::string line;
  for (const std::int32_t id :
       tokenizer.encode(input_of(options), options.special ? corpus::SpecialText::recognized
                                                           : corpus::SpecialText::ordinary)) {
    if (!line.empty()) line += ' ';
    line += std::to_string(id);
  }
  std::cout << line << '\n';
}

void run_decode(const CodeOptions& options) {
  const corpus::Tokenizer tokenizer = corpus::Tokenizer::named(options.tokenizer);
  std::string words = input_of(options);
  for (char& byte : words) {
    if (byte == '\n' || byte == '\t' || byte == '\r' || byte == ',') byte = ' ';
  }
  std::vector<std::int32_t> ids;
  for (const std::string& word : base::split(words, ' ')) {
    if (word.empty()) continue;
    std::int32_t id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size()) {
      throw base::Error(base::ErrorKind::data,
                        "expected a token id, found " + base::in_quotes(word));
    }
    ids.push_back(id);
  }
  std::cout << tokenizer.decode(ids) << std::flush;
}

void add_input(CLI::App& command, CodeOptions& options, const char* what) {
  command.add_option("--tokenizer", options.tokenizer, kTokenizerHelp)->required();
  auto* file = command.add_option("file", options.file,
                                  std::string("File with the ") + what +
                                      "; - or none: standard "
                                      "input");
  command.add_option("--text", options.text, std::string("The ") + what)->excludes(file);
}

void add_train_command(CLI::App& group) {
  auto options = std::make_shared<TrainOptions>();
  auto* command = group.add_subcommand("train", "Make a vocabulary from text");
  command
      ->add_option("inputs", options->inputs,
                   "Text files, JSON Lines (.jsonl, {\"text\": ...}), folders, globs")
      ->required();
  command
      ->add_option("--vocab-size", options->vocab_size,
                   "Tokens, with the 256 bytes and the end of text")
      ->required();
  command->add_option("--out", options->out, "Folder to write")->required();
  command->add_option("--threads", options->threads, "0: all cores")
      ->capture_default_str()
      ->check(thread_number());
  command->footer(
      "Writes tokenizer.json, vocab.json and merges.txt, which Hugging Face tokenizers reads too.\n"
      "Example:  ssmax tokenizer train books/ --vocab-size 8192 --out data/books_8k");
  command->callback([options] { run_train(*options); });
}

}  // namespace

void add_tokenizer(CLI::App& program) {
  auto* group = program.add_subcommand("tokenizer", "Make vocabularies, encode and decode text");
  group->footer("Example:  ssmax tokenizer train books/ --vocab-size 8192 --out data/books_8k");
  group->require_subcommand(1);
  add_train_command(*group);

  auto encoding = std::make_shared<CodeOptions>();
  auto* encode = group->add_subcommand("encode", "Text to token ids");
  add_input(*encode, *encoding, "text");
  encode->add_flag("--special", encoding->special,
                   "Take <|endoftext|> in the text for the end-of-text token");
  encode->footer("Example:  ssmax tokenizer encode --tokenizer gpt2/ --text \"Hello, world\"");
  encode->callback([encoding] { run_encode(*encoding); });

  auto decoding = std::make_shared<CodeOptions>();
  auto* decode = group->add_subcommand("decode", "Token ids to text");
  add_input(*decode, *decoding, "ids");
  decode->footer("Example:  ssmax tokenizer decode --tokenizer gpt2/ --text \"15496 11 995\"");
  decode->callback([decoding] { run_decode(*decoding); });
}

}  // namespace ssmax::app
