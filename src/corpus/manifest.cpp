#include "corpus/manifest.h"

#include <string_view>

#include "base/durable_file.h"
#include "base/errors.h"
#include "base/read_file.h"
#include "base/strict_json.h"

namespace ssmax::corpus {

namespace {

using base::JsonValue;
using Type = JsonValue::Type;

constexpr std::string_view kFormat = "ssmax token shards";
constexpr std::int64_t kVersion = 1;

JsonValue split_json(const ManifestSplit& split) {
  JsonValue files = JsonValue::array();
  for (const ManifestFile& file : split.files) {
    JsonValue entry = JsonValue::object();
    entry.add("file", JsonValue::of(file.file))
        .add("tokens", JsonValue::of(file.tokens))
        .add("bytes", JsonValue::of(file.bytes))
        .add("xxh3_128", JsonValue::of(file.xxh3_128));
    files.items.push_back(std::move(entry));
  }
  JsonValue json = JsonValue::object();
  json.add("documents", JsonValue::of(split.documents))
      .add("tokens", JsonValue::of(split.tokens))
      .add("text_bytes", JsonValue::of(split.text_bytes))
      .add("files", std::move(files));
  return json;
}

/// Reads members of the type asked for, and names the line of one that is not so.
class Reader {
 public:
  explicit Reader(std::string source) : source_(std::move(source)) {}

  const JsonValue& member(const JsonValue& object, std::string_view key, Type type) const {
    const JsonValue* value = object.type == Type::object ? object.find(key) : nullptr;
    if (value == nullptr || value->type != type) {
      throw base::Error(
          base::ErrorKind::data,
          base::located(source_, value == nullptr ? object.line : value->line, key,
                        value == nullptr ? "this member is missing" : "found " + describe(*value)));
    }
    return *value;
  }
  std::string text(const JsonValue& object, std::string_view key) const {
    return member(object, key, Type::string).text;
  }
  std::int64_t integer(const JsonValue& object, std::string_view key) const {
    return member(object, key, Type::integer).integer;
  }
  ManifestSplit split(const JsonValue& root, std::string_view key) const {
    const JsonValue& object = member(root, key, Type::object);
    ManifestSplit split;
    split.documents = integer(object, "documents");
    split.tokens = integer(object, "tokens");
    split.text_bytes = integer(object, "text_bytes");
    for (const JsonValue& file : member(object, "files", Type::array).items) {
      split.files.push_back({text(file, "file"), integer(file, "tokens"), integer(file, "bytes"),
                             text(file, "xxh3_128")});
    }
    return split;
  }

 private:
  std::string source_;
};

}  // namespace

void write_manifest(const std::filesystem::path& folder, const Manifest& manifest) {
  JsonValue tokenizer = JsonValue::object();
  tokenizer.add("name", JsonValue::of(manifest.tokenizer_name))
      .add("hash", JsonValue::of(manifest.tokenizer_hash))
      .add("vocab_size", JsonValue::of(manifest.vocab_size))
      .add("end_of_text", JsonValue::of(manifest.end_of_text));
  JsonValue root = JsonValue::object();
  root.add("format", JsonValue::of(kFormat))
      .add("version", JsonValue::of(kVersion))
      .add("tokenizer", std::move(tokenizer))
      .add("train", split_json(manifest.train))
      .add("validation", split_json(manifest.validation))
      .add("skipped_files", JsonValue::of(manifest.skipped_files));
  base::write_file_atomically(folder / kManifestName, base::to_text(root, 2) + '\n');
}

std::optional<Manifest> read_manifest(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kManifestName;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::nullopt;
  const JsonValue root = base::parse_json_value(base::read_text_file(path, base::ErrorKind::data),
                                                path.string(), base::ErrorKind::data);
  const Reader reader(path.string());
  if (reader.text(root, "format") != kFormat || reader.integer(root, "version") != kVersion) {
    throw base::Error(base::ErrorKind::data, path.string() + ": expected the format \"" +
                                                 std::string(kFormat) + "\", version " +
                                                 std::to_string(kVersion));
  }
  const JsonValue& tokenizer = reader.member(root, "tokenizer", Type::object);
  Manifest manifest;
  manifest.tokenizer_name = reader.text(tokenizer, "name");
  manifest.tokenizer_hash = reader.text(tokenizer, "hash");
  manifest.vocab_size = reader.integer(tokenizer, "vocab_size");
  manifest.end_of_text = reader.integer(tokenizer, "end_of_text");
  manifest.train = reader.split(root, "train");
  manifest.validation = reader.split(root, "validation");
  manifest.skipped_files = reader.integer(root, "skipped_files");
  return manifest;
}

}  // namespace ssmax::corpus
