#include "checkpoint/manifest.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <set>

#include "base/errors.h"
#include "base/hash.h"
#include "base/json_members.h"
#include "base/read_file.h"
#include "base/strict_json.h"
#include "base/text.h"

namespace ssmax::checkpoint {
namespace {

using base::in_quotes;
using base::JsonValue;

constexpr char kHashKey[] = "manifest_xxh3_128";
constexpr std::string_view kNoHash = "00000000000000000000000000000000";
constexpr std::string_view kTail = "\"\n}\n";
// A manifest holds a config, a window and a few hundred names; more is not one of ours.
constexpr std::int64_t kMaxBytes = std::int64_t{64} << 20;

JsonValue numbers(const std::vector<double>& values) {
  JsonValue list = JsonValue::array();
  for (const double value : values) {
    assert(std::isfinite(value));
    list.items.push_back(JsonValue::of(value));
  }
  return list;
}

JsonValue state_json(const std::map<std::string, std::int64_t>& state) {
  JsonValue object = JsonValue::object();
  for (const auto& [key, value] : state) object.add(key, JsonValue::of(value));
  return object;
}

JsonValue files_json(const std::vector<WrittenFile>& files) {
  JsonValue list = JsonValue::array();
  for (const WrittenFile& file : files) {
    JsonValue object = JsonValue::object();
    object.add("name", JsonValue::of(file.name));
    object.add("bytes", JsonValue::of(file.bytes));
    object.add("xxh3_128", JsonValue::of(file.xxh3_128));
    list.items.push_back(std::move(object));
  }
  return list;
}

bool is_hash(std::string_view text) {
  return text.size() == kNoHash.size() &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// How a refusal of a key names this format.
std::string format_text() { return "format " + std::to_string(kManifestFormat); }

std::map<std::string, std::int64_t> parse_state(const JsonValue& object, std::string_view source) {
  std::map<std::string, std::int64_t> state;
  for (const base::JsonMember& member : object.members) {
    const JsonValue& value = member.value;
    if (value.type != JsonValue::Type::integer) {
      throw base::Error(base::ErrorKind::checkpoint,
                        base::located(source, value.line, "state." + base::printable(member.key),
                                      "expected an integer, found " + describe(value)));
    }
    state[member.key] = value.integer;
  }
  return state;
}

std::vector<WrittenFile> parse_files(const std::vector<JsonValue>& list, std::string_view source) {
  std::vector<WrittenFile> files;
  std::set<std::string> names;
  for (const JsonValue& item : list) {
    base::JsonMembers members(item, source, base::ErrorKind::checkpoint,
                              "files[" + std::to_string(files.size()) + "].");
    WrittenFile file;
    file.name = members.text("name");
    file.bytes = members.integer("bytes", 0);
    file.xxh3_128 = members.text("xxh3_128");
    members.finish(format_text());
    const bool leaves = file.name.empty() || file.name.starts_with('.') ||
                        file.name.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos;
    if (leaves) members.fail(item, "name", "expected a file's name, found " + in_quotes(file.name));
    if (!names.insert(file.name).second) members.fail(item, "name", "appears twice");
    if (!is_hash(file.xxh3_128)) {
      members.fail(item, "xxh3_128",
                   "expected 32 hexadecimal digits, found " + in_quotes(file.xxh3_128));
    }
    files.push_back(std::move(file));
  }
  return files;
}

/// The hash covers the whole text with its own digits as zeros.
void check_hash(std::string_view text, std::string_view source) {
  const std::string before = std::string("\"") + kHashKey + "\": \"";
  const std::size_t tail = before.size() + kNoHash.size() + kTail.size();
  const auto fail = [&](const std::string& reason) {
    throw base::Error(base::ErrorKind::checkpoint, base::located(source, 0, "", reason));
  };
  const std::size_t start = text.size() < tail ? 0 : text.size() - tail;
  if (text.size() < tail || text.substr(start, before.size()) != before || !text.ends_with(kTail)) {
    fail("expected " + std::string(kHashKey) + " as the last member: cut off or edited");
  }
  const std::string_view digits = text.substr(start + before.size(), kNoHash.size());
  std::string zeroed(text);
  zeroed.replace(start + before.size(), kNoHash.size(), kNoHash);
  if (const std::string hash = base::hash_hex(zeroed); hash != digits) {
    fail("expected the hash " + base::printable(digits) + ", found " + hash +
         ": damaged or edited");
  }
}

}  // namespace

std::int64_t Manifest::integer(const std::string& key) const {
  const auto found = state.find(key);
  if (found != state.end()) return found->second;
  throw base::Error(base::ErrorKind::checkpoint,
                    "the manifest's state has no " + in_quotes(key) +
                        "; the checkpoint is of another version of the program");
}

std::int64_t Manifest::integer(const std::string& key, std::int64_t absent) const {
  const auto found = state.find(key);
  return found == state.end() ? absent : found->second;
}

std::string to_text(const Manifest& manifest) {
  JsonValue root = JsonValue::object();
  root.add("format", JsonValue::of(manifest.format));
  root.add("program_version", JsonValue::of(manifest.program_version));
  root.add("git_hash", JsonValue::of(manifest.git_hash));
  root.add("step", JsonValue::of(manifest.step));
  root.add("tokens", JsonValue::of(manifest.tokens));
  root.add("epoch", JsonValue::of(manifest.epoch));
  root.add("global_sample_index", JsonValue::of(manifest.global_sample_index));
  root.add("seed", JsonValue::of(manifest.seed));
  root.add("data_fingerprint", JsonValue::of(manifest.data_fingerprint));
  root.add("world_size", JsonValue::of(manifest.world_size));
  root.add("config", manifest.config.empty() ? JsonValue::object()
                                             : base::parse_json_value(manifest.config, "config",
                                                                      base::ErrorKind::checkpoint));
  root.add("recent_losses", numbers(manifest.recent_losses));
  root.add("recent_norms", numbers(manifest.recent_norms));
  root.add("state", state_json(manifest.state));
  root.add("files", files_json(manifest.files));
  root.add(kHashKey, JsonValue::of(kNoHash));
  std::string text = base::to_text(root, 2) + '\n';
  assert(text.ends_with(kTail));
  const std::string hash = base::hash_hex(text);
  text.replace(text.size() - kTail.size() - kNoHash.size(), kNoHash.size(), hash);
  return text;
}

Manifest parse_manifest(std::string_view text, std::string_view source) {
  const JsonValue root = base::parse_json_value(text, source, base::ErrorKind::checkpoint);
  base::JsonMembers members(root, source, base::ErrorKind::checkpoint);
  Manifest manifest;
  if (const JsonValue* format = root.find("format");
      format != nullptr && format->type == JsonValue::Type::string) {
    members.fail(*format, "format",
                 "expected the manifest of a checkpoint, found one of " + in_quotes(format->text));
  }
  manifest.format = members.integer("format", 0);
  if (manifest.format != kManifestFormat) {
    members.fail(*root.find("format"), "format",
                 "expected " + std::to_string(kManifestFormat) + ", found " +
                     std::to_string(manifest.format) +
                     "; use the version of the program that wrote it");
  }
  check_hash(text, source);
  manifest.program_version = members.text("program_version");
  manifest.git_hash = members.text("git_hash");
  manifest.step = members.integer("step", 0);
  manifest.tokens = members.integer("tokens", 0);
  manifest.epoch = members.integer("epoch", 0);
  manifest.global_sample_index = members.integer("global_sample_index", 0);
  manifest.seed = members.integer("seed");
  manifest.data_fingerprint = members.text("data_fingerprint");
  manifest.world_size = members.integer("world_size", 1);
  const JsonValue& config = members.object("config");
  if (!config.members.empty()) manifest.config = base::to_text(config, 2) + '\n';
  manifest.recent_losses = members.numbers("recent_losses");
  manifest.recent_norms = members.numbers("recent_norms");
  manifest.state = parse_state(members.object("state"), source);
  manifest.files = parse_files(members.list("files"), source);
  members.text(kHashKey);
  members.finish(format_text());
  return manifest;
}

Manifest read_manifest(const std::filesystem::path& path) {
  return parse_manifest(base::read_text_file(path, base::ErrorKind::checkpoint, kMaxBytes),
                        path.string());
}

}  // namespace ssmax::checkpoint
