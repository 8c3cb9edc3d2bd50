#include <string>

#include "base/durable_file.h"
#include "base/json_value.h"
#include "corpus/byte_characters.h"
#include "corpus/tokenizer.h"

namespace ssmax::corpus {

namespace {

// The files are put together as text: base::to_text takes n^2 steps for an object of n members,
// which shows with the 50,257 of GPT-2.

std::string json_text(std::string_view text) { return base::to_text(base::JsonValue::of(text)); }

/// {"token": id, ...}, one on a line.
std::string vocabulary_json(const Tokenizer& tokenizer) {
  std::string text = "{";
  for (std::int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string_view token = tokenizer.token(id);
    text += id == 0 ? "\n" : ",\n";
    text += json_text(tokenizer.is_special(id) ? std::string(token) : to_byte_characters(token));
    text += ": " + std::to_string(id);
  }
  return text + "\n}";
}

std::string merge_text(const Tokenizer& tokenizer, const Merge& merge) {
  return to_byte_characters(tokenizer.token(merge.left)) + ' ' +
         to_byte_characters(tokenizer.token(merge.right));
}

std::string added_tokens_json(const Tokenizer& tokenizer) {
  std::string text;
  for (const SpecialToken& special : tokenizer.vocabulary().special) {
    if (!text.empty()) text += ",\n";
    text += "{\"id\": " + std::to_string(special.id) + ", \"content\": " + json_text(special.text) +
            ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
            "\"normalized\": false, \"special\": true}";
  }
  return text;
}

std::string merges_json(const Tokenizer& tokenizer) {
  std::string text;
  for (const Merge& merge : tokenizer.vocabulary().merges) {
    text += (text.empty() ? "\n" : ",\n") + json_text(merge_text(tokenizer, merge));
  }
  return text;
}

}  // namespace

void Tokenizer::write_json(const std::filesystem::path& file) const {
  const std::string byte_level =
      R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})";
  std::string text = "{\n";
  text += "\"version\": \"1.0\",\n\"truncation\": null,\n\"padding\": null,\n";
  text += "\"added_tokens\": [\n" + added_tokens_json(*this) + "\n],\n";
  text += "\"normalizer\": null,\n";
  text += "\"pre_tokenizer\": " + byte_level + ",\n";
  text += "\"post_processor\": null,\n";
  text += "\"decoder\": " + byte_level + ",\n";
  text += "\"model\": {\n\"type\": \"BPE\",\n\"dropout\": null,\n\"unk_token\": null,\n";
  text += "\"continuing_subword_prefix\": null,\n\"end_of_word_suffix\": null,\n";
  text += "\"fuse_unk\": false,\n\"byte_fallback\": false,\n";
  text += "\"vocab\": " + vocabulary_json(*this) + ",\n";
  text += "\"merges\": [" + merges_json(*this) + "\n]\n}\n}\n";
  base::write_file_atomically(file, text);
}

void Tokenizer::save(const std::filesystem::path& folder) const {
  base::create_folders(folder);
  std::string merges = "#version: 0.2\n";
  for (const Merge& merge : vocabulary().merges) merges += merge_text(*this, merge) + '\n';
  base::write_file_atomically(folder / "vocab.json", vocabulary_json(*this) + '\n');
  base::write_file_atomically(folder / "merges.txt", merges);
  write_json(folder / "tokenizer.json");
}

}  // namespace ssmax::corpus
