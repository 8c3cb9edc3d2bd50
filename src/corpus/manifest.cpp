#include "corpus/manifest.h"

#include <string_view>

#include "base/durable_file.h"
#include "base/errors.h"
#include "base/json_members.h"
#include "base/read_file.h"
#include "base/strict_json.h"

namespace ssmax::corpus {

namespace {

using base::JsonValue;

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

ManifestSplit split_of(const JsonValue& object, std::string_view source, const std::string& key) {
  base::JsonMembers members(object, source, base::ErrorKind::data, key + ".");
  ManifestSplit split;
  split.documents = members.integer("documents");
  split.tokens = members.integer("tokens");
  split.text_bytes = members.integer("text_bytes");
  for (const JsonValue& item : members.list("files")) {
    base::JsonMembers file(item, source, base::ErrorKind::data,
                           key + ".files[" + std::to_string(split.files.size()) + "].");
    split.files.push_back(
        {file.text("file"), file.integer("tokens"), file.integer("bytes"), file.text("xxh3_128")});
  }
  return split;
}

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
  const std::string source = path.string();
  base::JsonMembers members(root, source, base::ErrorKind::data);
  if (members.text("format") != kFormat || members.integer("version") != kVersion) {
    throw base::Error(base::ErrorKind::data, source + ": expected the format \"" +
                                                 std::string(kFormat) + "\", version " +
                                                 std::to_string(kVersion));
  }
  base::JsonMembers tokenizer(members.object("tokenizer"), source, base::ErrorKind::data,
                              "tokenizer.");
  Manifest manifest;
  manifest.tokenizer_name = tokenizer.text("name");
  manifest.tokenizer_hash = tokenizer.text("hash");
  manifest.vocab_size = tokenizer.integer("vocab_size");
  manifest.end_of_text = tokenizer.integer("end_of_text");
  manifest.train = split_of(members.object("train"), source, "train");
  manifest.validation = split_of(members.object("validation"), source, "validation");
  manifest.skipped_files = members.integer("skipped_files");
  return manifest;
}

}  // namespace ssmax::corpus
