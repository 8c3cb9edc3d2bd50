#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/errors.h"
#include "base/json_value.h"
#include "corpus/byte_characters.h"
#include "corpus/documents.h"
#include "corpus/tokenizer.h"
#include "fuzz/driver.h"

namespace ssmax::fuzz {
namespace {

/// A folder of this process, for the files that the room reads by name.
const std::filesystem::path& folder() {
  static const struct Folder {
    std::filesystem::path path = std::filesystem::temp_directory_path() /
                                 ("ssmax_tokenizer_fuzz_" + std::to_string(::getpid()));
    Folder() { std::filesystem::create_directories(path); }
    ~Folder() { std::filesystem::remove_all(path); }
  } folder;
  return folder.path;
}

std::filesystem::path write(const char* name, std::string_view text) {
  const std::filesystem::path path = folder() / name;
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

template <class Work>
void run(const Work& work) {
  try {
    work();
  } catch (const base::Error& error) {
    if (error.kind() != base::ErrorKind::data) finding("an error of another kind");
    if (std::strchr(error.what(), '\n') != nullptr) finding("a message of several lines");
  }
}

/// A vocabulary of bytes, two merges and the end of text.
std::string vocabulary_text() {
  std::string text = "{";
  std::int64_t id = 0;
  for (const std::string& character : corpus::byte_characters()) {
    text += base::to_text(base::JsonValue::of(character)) + ":" + std::to_string(id++) + ",";
  }
  return text + R"("th":256,"the":257,"<|endoftext|>":258})";
}

const corpus::Tokenizer& known() {
  static const corpus::Tokenizer tokenizer = [] {
    write("vocab.json", vocabulary_text());
    write("merges.txt", "#version: 0.2\nt h\nth e\n");
    return corpus::Tokenizer::load(folder());
  }();
  return tokenizer;
}

void check_round_trip(const corpus::Tokenizer& tokenizer, std::string_view text) {
  for (const auto special : {corpus::SpecialText::ordinary, corpus::SpecialText::recognized}) {
    if (tokenizer.decode(tokenizer.encode(text, special)) != text) {
      finding("decoding does not give back the text");
    }
  }
}

/// JSON Lines, and the text of a file in pieces.
void check_documents(std::string_view text) {
  for (const char* name : {"a.jsonl", "a.txt"}) {
    const std::vector<std::string> names = {write(name, text).string()};
    run([&] {
      const corpus::Inputs inputs = corpus::find_inputs(names);
      corpus::PieceReader reader(inputs.files, 16);
      std::string joined;
      std::vector<std::int32_t> ids;
      while (const auto piece = reader.next()) {
        joined += piece->bytes;
        known().encode(ids, piece->bytes);
        corpus::visit_documents(*piece, [](std::string_view, std::uint64_t, bool) {});
      }
      if (joined != text) finding("the pieces are not the text");
      if (names[0].ends_with(".txt") && ids != known().encode(text)) {
        finding("a piece cuts a pre-token");
      }
    });
  }
}

}  // namespace

std::vector<std::string> seeds() {
  return {
      R"({"added_tokens": [{"id": 258, "content": "<|endoftext|>", "special": true}],
"normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
"model": {"type": "BPE", "dropout": null, "merges": ["t h", ["th", "e"]], "vocab": )" +
          vocabulary_text() + "}}",
      vocabulary_text(), "#version: 0.2\nt h\nth e\n",
      "The <|endoftext|> theme's 123 \xE2\x82\xAC\xF0\x9F\x98\x80 \xFF\xFE\n\n  then ",
      "{\"text\": \"one\"}\n{\"text\": \"tw\\u00f6\"}\n\n{\"text\": 3}\n"};
}

}  // namespace ssmax::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ssmax;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  fuzz::check_round_trip(fuzz::known(), text);
  fuzz::check_documents(text);
  fuzz::run([&] {
    const auto tokenizer = corpus::Tokenizer::load(fuzz::write("fuzzed.json", text));
    fuzz::check_round_trip(tokenizer, text.substr(0, 2000));
  });
  fuzz::run([&] {
    std::filesystem::create_directories(fuzz::folder() / "pair");
    fuzz::write("pair/vocab.json",
                text.starts_with("{") ? std::string(text) : fuzz::vocabulary_text());
    fuzz::write("pair/merges.txt", text);
    const auto tokenizer = corpus::Tokenizer::load(fuzz::folder() / "pair");
    fuzz::check_round_trip(tokenizer, text.substr(0, 2000));
  });
  return 0;
}
