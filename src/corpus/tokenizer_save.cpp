#include <string>

#include "base/durable_file.h"
#include "base/json_value.h"
#include "corpus/byte_characters.h"
#include "corpus/tokenizer.h"

namespace ssmax::corpus {

namespace {

using base::JsonValue;

JsonValue vocabulary_json(const Tokenizer& tokenizer) {
  JsonValue ids = JsonValue::object();
  for (std::int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string_view token = tokenizer.token(id);
    ids.add(tokenizer.is_special(id) ? std::string(token) : to_byte_characters(token),
            JsonValue::of(id));
  }
  return ids;
}

std::string merge_text(const Tokenizer& tokenizer, const Merge& merge) {
  return to_byte_characters(tokenizer.token(merge.left)) + ' ' +
         to_byte_characters(tokenizer.token(merge.right));
}

JsonValue hugging_face_json(const Tokenizer& tokenizer) {
  JsonValue added = JsonValue::array();
  for (const SpecialToken& special : tokenizer.vocabulary().special) {
    JsonValue token = JsonValue::object();
    token.add("id", JsonValue::of(std::int64_t{special.id}))
        .add("content", JsonValue::of(special.text))
        .add("single_word", JsonValue::of(false))
        .add("lstrip", JsonValue::of(false))
        .add("rstrip", JsonValue::of(false))
        .add("normalized", JsonValue::of(false))
        .add("special", JsonValue::of(true));
    added.items.push_back(std::move(token));
  }
  JsonValue byte_level = JsonValue::object();
  byte_level.add("type", JsonValue::of("ByteLevel"))
      .add("add_prefix_space", JsonValue::of(false))
      .add("trim_offsets", JsonValue::of(true))
      .add("use_regex", JsonValue::of(true));
  JsonValue merges = JsonValue::array();
  for (const Merge& merge : tokenizer.vocabulary().merges) {
    merges.items.push_back(JsonValue::of(merge_text(tokenizer, merge)));
  }
  JsonValue model = JsonValue::object();
  model.add("type", JsonValue::of("BPE"))
      .add("dropout", {})
      .add("unk_token", {})
      .add("continuing_subword_prefix", {})
      .add("end_of_word_suffix", {})
      .add("fuse_unk", JsonValue::of(false))
      .add("byte_fallback", JsonValue::of(false))
      .add("vocab", vocabulary_json(tokenizer))
      .add("merges", std::move(merges));
  JsonValue root = JsonValue::object();
  root.add("version", JsonValue::of("1.0"))
      .add("truncation", {})
      .add("padding", {})
      .add("added_tokens", std::move(added))
      .add("normalizer", {})
      .add("pre_tokenizer", byte_level)
      .add("post_processor", {})
      .add("decoder", byte_level)
      .add("model", std::move(model));
  return root;
}

}  // namespace

void Tokenizer::write_json(const std::filesystem::path& file) const {
  base::write_file_atomically(file, base::to_text(hugging_face_json(*this), 1) + '\n');
}

void Tokenizer::save(const std::filesystem::path& folder) const {
  base::create_folders(folder);
  std::string merges = "#version: 0.2\n";
  for (const Merge& merge : vocabulary().merges) merges += merge_text(*this, merge) + '\n';
  base::write_file_atomically(folder / "vocab.json", base::to_text(vocabulary_json(*this)) + '\n');
  base::write_file_atomically(folder / "merges.txt", merges);
  write_json(folder / "tokenizer.json");
}

}  // namespace ssmax::corpus
