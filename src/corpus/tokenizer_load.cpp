#include <algorithm>
#include <string>
#include <unordered_map>

#include "base/errors.h"
#include "base/read_file.h"
#include "base/strict_json.h"
#include "base/text.h"
#include "corpus/byte_characters.h"
#include "corpus/tokenizer.h"

namespace ssmax::corpus {

namespace {

using base::Error;
using base::ErrorKind;
using base::JsonMember;
using base::JsonValue;
using std::filesystem::path;
using Type = JsonValue::Type;

constexpr std::int64_t kLargestFile = 256 << 20;
constexpr std::int64_t kLargestVocabulary = 1 << 24;

[[noreturn]] void fail(const path& file, int line, const std::string& message) {
  throw Error(ErrorKind::data, base::located(file.string(), line, "", message));
}

std::string read_text(const path& file) {
  return base::read_text_file(file, ErrorKind::data, kLargestFile);
}

/// Collects the parts that all three forms of vocabulary files have.
class Builder {
 public:
  explicit Builder(const path& file) : file_(file) {}

  /// Tokens in the form of byte characters, with their ids.
  void add_vocabulary(const JsonValue& object) {
    if (object.type != Type::object) {
      fail(file_, object.line, "expected an object of tokens and ids, found " + describe(object));
    }
    for (const JsonMember& member : object.members) add_token(member.key, member.value);
  }

  /// `text` as it is, of a token that stands outside of the merges.
  void add_special(const std::string& text, std::int64_t id, int line) {
    if (text.empty()) fail(file_, line, "a special token without text");
    place(id, line);
    std::string& token = vocabulary_.tokens[static_cast<std::size_t>(id)];
    const auto known = known_.find(text);
    const bool listed = known != known_.end();
    if (listed ? known->second != id : used_[static_cast<std::size_t>(id)]) {
      fail(file_, line,
           "the special token " + base::in_quotes(text) + " has the id " + std::to_string(id) +
               (listed ? ", but the vocabulary says " + std::to_string(known->second)
                       : " of another token"));
    }
    used_[static_cast<std::size_t>(id)] = true;
    token = text;
    vocabulary_.special.push_back({text, static_cast<std::int32_t>(id)});
    if (text == kEndOfText) vocabulary_.end_of_text = static_cast<std::int32_t>(id);
  }

  void add_merge(const std::string& left, const std::string& right, const path& file, int line) {
    const auto find = [&](const std::string& token) {
      const auto found = known_.find(token);
      if (found == known_.end()) {
        fail(file, line,
             "the merge of " + base::in_quotes(left) + " and " + base::in_quotes(right) +
                 " needs the token " + base::in_quotes(token) + ", which the vocabulary lacks");
      }
      return found->second;
    };
    vocabulary_.merges.push_back({find(left), find(right), find(left + right)});
  }

  /// Lines "left right"; a first line that begins with "#version" is left out.
  void add_merges(const path& file) {
    const std::string text = read_text(file);
    int line = 0;
    std::size_t begin = 0;
    while (begin < text.size()) {
      ++line;
      const std::size_t end = std::min(text.find('\n', begin), text.size());
      std::string row = text.substr(begin, end - begin);
      begin = end + 1;
      if (!row.empty() && row.back() == '\r') row.pop_back();
      if (row.empty() || (line == 1 && row.starts_with("#version"))) continue;
      add_merge_text(row, file, line);
    }
  }

  void add_merge_text(const std::string& row, const path& file, int line) {
    const std::size_t space = row.find(' ');
    if (space == std::string::npos || row.find(' ', space + 1) != std::string::npos) {
      fail(file, line, "expected two tokens with a space between, found " + base::in_quotes(row));
    }
    add_merge(row.substr(0, space), row.substr(space + 1), file, line);
  }

  bool has(std::string_view token) const { return known_.contains(std::string(token)); }
  std::int64_t id(std::string_view token) const { return known_.at(std::string(token)); }

  Tokenizer finish(const std::string& name) {
    vocabulary_.name = name;
    const auto gap = std::find(used_.begin(), used_.end(), false);
    if (gap != used_.end() || used_.empty()) {
      fail(file_, 0,
           "no token has the id " + std::to_string(gap - used_.begin()) +
               "; ids must be 0 to the number of tokens - 1");
    }
    const auto& special = vocabulary_.special;
    if (std::none_of(special.begin(), special.end(),
                     [](const SpecialToken& token) { return token.text == kEndOfText; })) {
      fail(file_, 0, "the token " + std::string(kEndOfText) + " is missing");
    }
    return base::within(file_.string(), [&] { return Tokenizer(std::move(vocabulary_)); });
  }

 private:
  /// Makes room for `id`.
  void place(std::int64_t id, int line) {
    if (id < 0 || id >= kLargestVocabulary) {
      fail(file_, line,
           "expected an id of 0 to " + std::to_string(kLargestVocabulary - 1) + ", found " +
               std::to_string(id));
    }
    const auto size = std::max(used_.size(), static_cast<std::size_t>(id) + 1);
    used_.resize(size);
    vocabulary_.tokens.resize(size);
  }

  void add_token(const std::string& text, const JsonValue& id) {
    if (id.type != Type::integer) {
      fail(file_, id.line,
           "expected the id of " + base::in_quotes(text) + ", found " + describe(id));
    }
    place(id.integer, id.line);
    const auto at = static_cast<std::size_t>(id.integer);
    if (used_[at]) {
      fail(file_, id.line, "two tokens have the id " + std::to_string(id.integer));
    }
    used_[at] = true;
    known_[text] = static_cast<std::int32_t>(id.integer);
    // Special tokens may be in the list too; they are replaced by add_special.
    if (!from_byte_characters(vocabulary_.tokens[at], text)) vocabulary_.tokens[at] = text;
  }

  path file_;
  Vocabulary vocabulary_;
  std::vector<bool> used_;  // by id
  std::unordered_map<std::string, std::int32_t> known_;
};

/// GPT-2's pair of files: a list of ids and a list of merges.
Tokenizer load_pair(const path& ids, const path& merges, const std::string& name) {
  Builder builder(ids);
  builder.add_vocabulary(base::parse_json_value(read_text(ids), ids.string(), ErrorKind::data));
  builder.add_merges(merges);
  if (builder.has(kEndOfText)) {
    builder.add_special(std::string(kEndOfText), builder.id(kEndOfText), 0);
  }
  return builder.finish(name);
}

/// A member that has to be there, of the type given.
const JsonValue& member(const path& file, const JsonValue& object, std::string_view key,
                        Type type) {
  const JsonValue* value = object.type == Type::object ? object.find(key) : nullptr;
  if (value == nullptr) {
    fail(file, object.line, "expected the member " + base::in_quotes(key));
  }
  if (value->type != type) {
    fail(file, value->line, base::in_quotes(key) + " is " + describe(*value));
  }
  return *value;
}

bool is_unset(const JsonValue* value) {
  return value == nullptr || value->type == Type::null ||
         (value->type == Type::boolean && !value->boolean) ||
         (value->type == Type::string && value->text.empty());
}

/// Anything that would give other ids than byte-level BPE with GPT-2's pattern is refused.
void check_kind(const path& file, const JsonValue& root, const JsonValue& model) {
  const auto refuse = [&](const JsonValue& where, const std::string& what) {
    fail(file, where.line, what + "; only byte-level BPE with GPT-2's split pattern is supported");
  };
  if (const JsonValue* type = model.find("type"); type != nullptr && type->text != "BPE") {
    refuse(*type, "the model is " + describe(*type));
  }
  for (const char* key : {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                          "byte_fallback", "ignore_merges"}) {
    if (const JsonValue* value = model.find(key); !is_unset(value)) {
      refuse(*value, std::string("model.") + key + " is " + describe(*value));
    }
  }
  if (const JsonValue* value = root.find("normalizer"); !is_unset(value)) {
    refuse(*value, "it has a normalizer");
  }
  const JsonValue& split = member(file, root, "pre_tokenizer", Type::object);
  if (member(file, split, "type", Type::string).text != "ByteLevel") {
    refuse(split, "the pre_tokenizer is " + describe(*split.find("type")));
  }
  if (const JsonValue* value = split.find("add_prefix_space"); !is_unset(value)) {
    refuse(*value, "add_prefix_space is " + describe(*value));
  }
  if (const JsonValue* value = split.find("use_regex"); value != nullptr && is_unset(value)) {
    refuse(*value, "use_regex is " + describe(*value));
  }
}

Tokenizer load_hugging_face(const path& file, const std::string& name) {
  const JsonValue root = base::parse_json_value(read_text(file), file.string(), ErrorKind::data);
  const JsonValue& model = member(file, root, "model", Type::object);
  check_kind(file, root, model);
  Builder builder(file);
  builder.add_vocabulary(member(file, model, "vocab", Type::object));
  for (const JsonValue& merge : member(file, model, "merges", Type::array).items) {
    if (merge.type == Type::string) {
      builder.add_merge_text(merge.text, file, merge.line);
    } else if (merge.type == Type::array && merge.items.size() == 2 &&
               merge.items[0].type == Type::string && merge.items[1].type == Type::string) {
      builder.add_merge(merge.items[0].text, merge.items[1].text, file, merge.line);
    } else {
      fail(file, merge.line, "expected a merge of two tokens, found " + describe(merge));
    }
  }
  if (const JsonValue* added = root.find("added_tokens"); !is_unset(added)) {
    for (const JsonValue& token : member(file, root, "added_tokens", Type::array).items) {
      builder.add_special(member(file, token, "content", Type::string).text,
                          member(file, token, "id", Type::integer).integer, token.line);
    }
  }
  return builder.finish(name);
}

}  // namespace

Tokenizer Tokenizer::load(const path& given) {
  std::error_code error;
  if (std::filesystem::is_directory(given, error)) {
    const auto has = [&](const char* file) { return std::filesystem::exists(given / file); };
    const path folder = std::filesystem::absolute(given).lexically_normal();
    const std::string name =
        (folder.has_filename() ? folder : folder.parent_path()).filename().string();
    if (has("tokenizer.json")) return load_hugging_face(given / "tokenizer.json", name);
    if (has("vocab.json") && has("merges.txt")) {
      return load_pair(given / "vocab.json", given / "merges.txt", name);
    }
    if (has("encoder.json") && has("vocab.bpe")) {
      return load_pair(given / "encoder.json", given / "vocab.bpe", name);
    }
    throw Error(ErrorKind::data, given.string() +
                                     ": expected tokenizer.json, vocab.json with merges.txt, or "
                                     "encoder.json with vocab.bpe in this folder");
  }
  if (!std::filesystem::exists(given, error)) {
    throw Error(ErrorKind::data, given.string() +
                                     ": there is no such tokenizer; name a folder, a "
                                     "tokenizer.json, or \"bytes\"");
  }
  const path file = std::filesystem::absolute(given);
  return load_hugging_face(given, file.filename() == "tokenizer.json"
                                      ? file.parent_path().filename().string()
                                      : file.stem().string());
}

}  // namespace ssmax::corpus
