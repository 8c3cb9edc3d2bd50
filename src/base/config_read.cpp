#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <utility>

#include "base/config.h"
#include "base/read_file.h"
#include "base/strict_json.h"
#include "base/text.h"
#include "base/utf8.h"

namespace ssmax::base::untyped {
namespace {

constexpr std::string_view kKind = "kind";
constexpr std::string_view kCommandLine = "command line";
/// No config is longer; a device file given by mistake must not fill the memory.
constexpr std::int64_t kMaxConfigBytes = std::int64_t{16} << 20;

std::vector<std::string_view> keys_of(const SectionInfo& info) {
  std::vector<std::string_view> keys;
  for (const FieldInfo& field : info.fields) keys.push_back(field.key);
  return keys;
}

/// Every dotted key whose last part is `key`, below `info`, without the options of kinds.
void find_same_name(const SectionInfo& info, const std::string& prefix, std::string_view key,
                    std::vector<std::string>& found) {
  for (const FieldInfo& field : info.fields) {
    const std::string path = dotted(prefix, field.key);
    if (field.key == key) found.push_back(path);
    if (field.type == FieldType::section) find_same_name(field.section(), path, key, found);
  }
}

}  // namespace

/// Puts one layer, a file or the command line, into the object.
class LayerReader {
 public:
  LayerReader(ConfigReader& config, std::string_view source) : config_(config), source_(source) {}

  void section(const SectionInfo& info, void* object, const JsonValue& value,
               const std::string& prefix) {
    const JsonValue layer = parsed(value, prefix);
    if (layer.type != JsonValue::Type::object) {
      fail(layer, prefix, "expected an object, found " + describe(layer));
    }
    const bool root = prefix.empty();
    for (const JsonMember& member : layer.members) {
      if (root && (member.key == "$schema" || member.key == "extends")) continue;
      const std::string key = dotted(prefix, member.key);
      const FieldInfo* field = info.find(member.key);
      if (field == nullptr) unknown_key(info, member, key);
      read(*field, field->in(object), member.value, key, member.line);
    }
  }

 private:
  void read(const FieldInfo& field, void* member, const JsonValue& value, const std::string& key,
            int line) {
    config_.origins_[key] = {source_, line};
    switch (field.type) {
      case FieldType::section:
        return section(field.section(), member, value, key);
      case FieldType::kind_section:
        return kind_section(*static_cast<KindSection*>(member), value, key);
      case FieldType::boolean:
        return put(member, boolean(parsed(value, key), key));
      case FieldType::integer:
        return put(member, integer(parsed(value, key), key));
      case FieldType::number:
        return put(member, number(parsed(value, key), key));
      case FieldType::string:
        return put(member, string(value, key));
      case FieldType::enumeration:
        return field.write_enum(member, enumerator(field, value, key));
      case FieldType::string_list:
        return put(member, strings(value, key));
    }
  }

  template <class T>
  static void put(void* member, T value) {
    *static_cast<T*>(member) = std::move(value);
  }

  bool boolean(const JsonValue& value, const std::string& key) const {
    if (value.type != JsonValue::Type::boolean) {
      fail(value, key, "expected true or false, found " + describe(value));
    }
    return value.boolean;
  }

  std::int64_t integer(const JsonValue& value, const std::string& key) const {
    if (value.type == JsonValue::Type::integer) return value.integer;
    std::string range;
    if (value.type == JsonValue::Type::number &&
        value.text.find_first_of(".eE") == std::string::npos) {
      range = " from " + std::to_string(std::numeric_limits<std::int64_t>::min()) + " to " +
              std::to_string(std::numeric_limits<std::int64_t>::max());
    }
    fail(value, key, "expected an integer" + range + ", found " + describe(value));
  }

  double number(const JsonValue& value, const std::string& key) const {
    if (value.type == JsonValue::Type::integer) return static_cast<double>(value.integer);
    if (value.type != JsonValue::Type::number) {
      fail(value, key, "expected a number, found " + describe(value));
    }
    return value.number;
  }

  std::string string(const JsonValue& value, const std::string& key) const {
    if (value.type != JsonValue::Type::string && value.type != JsonValue::Type::raw) {
      fail(value, key, "expected a string, found " + describe(value));
    }
    if (value.text.find('\0') != std::string::npos) {
      fail(value, key, "a string must not contain the character U+0000");
    }
    return value.text;
  }

  std::int64_t enumerator(const FieldInfo& field, const JsonValue& value,
                          const std::string& key) const {
    std::vector<std::string_view> names;
    for (const auto& entry : field.names) names.push_back(entry.name);
    if (value.type != JsonValue::Type::string && value.type != JsonValue::Type::raw) {
      fail(value, key, "expected one of " + join(names, ", ") + "; found " + describe(value));
    }
    for (const auto& entry : field.names) {
      if (entry.name == value.text) return entry.value;
    }
    fail(value, key,
         "expected one of " + join(names, ", ") + "; found " + in_quotes(value.text) +
             ", did you mean " + in_quotes(nearest(value.text, names)) + "?");
  }

  std::vector<std::string> strings(const JsonValue& value, const std::string& key) const {
    JsonValue items = value;
    if (value.type == JsonValue::Type::raw) {
      if (value.text.starts_with('[')) {
        items = parsed(value, key);
      } else {
        items = JsonValue::array();
        for (const std::string& part : split(value.text, ',')) {
          items.items.push_back(JsonValue::raw(part));
        }
      }
    }
    if (items.type != JsonValue::Type::array) {
      fail(items, key, "expected a list, found " + describe(items));
    }
    std::vector<std::string> result;
    for (const JsonValue& item : items.items) {
      result.push_back(string(item, key + '[' + std::to_string(result.size()) + ']'));
    }
    return result;
  }

  void kind_section(KindSection& kinds, const JsonValue& value, const std::string& key) {
    const JsonValue layer = parsed(value, key);
    if (layer.type != JsonValue::Type::object) {
      fail(layer, key, "expected an object with a \"kind\", found " + describe(layer));
    }
    // The kind comes first wherever it stands, since the other keys are its options.
    for (const JsonMember& member : layer.members) {
      if (member.key == kKind) select(kinds, member, dotted(key, kKind));
    }
    const SectionInfo& info = kinds.options().info();
    for (const JsonMember& member : layer.members) {
      if (member.key == kKind) continue;
      const std::string path = dotted(key, member.key);
      const FieldInfo* field = info.find(member.key);
      if (field == nullptr) unknown_option(kinds, member, path);
      read(*field, field->in(kinds.options().object()), member.value, path, member.line);
    }
  }

  void select(KindSection& kinds, const JsonMember& member, const std::string& key) {
    const std::string kind = string(member.value, key);
    if (kind != kinds.kind()) {
      // What older layers said about the options of the old kind is gone.
      const std::string section = key.substr(0, key.size() - kKind.size());
      std::erase_if(config_.origins_,
                    [&](const auto& origin) { return origin.first.starts_with(section); });
      try {
        kinds.select(kind);
      } catch (const Error& error) {
        fail(member.value, key, error.what());
      }
    }
    config_.origins_[key] = {source_, member.line};
  }

  [[noreturn]] void unknown_key(const SectionInfo& info, const JsonMember& member,
                                const std::string& key) const {
    const std::vector<std::string_view> keys = keys_of(info);
    if (keys.empty()) fail(member.line, key, "unknown key: the section has no keys");
    const std::string_view best = nearest(member.key, keys);
    std::string reason = "unknown key, did you mean " + in_quotes(best) + "?";
    if (edit_distance(member.key, best) * 2 > std::max<std::size_t>(member.key.size(), 2)) {
      std::vector<std::string> elsewhere;
      find_same_name(config_.info_, "", member.key, elsewhere);
      if (!elsewhere.empty()) {
        reason = "unknown key, did you mean " + in_quotes(elsewhere.front()) + "?";
      } else {
        reason += " The keys here are: " + join(keys, ", ");
      }
    }
    fail(member.line, key, reason);
  }

  [[noreturn]] void unknown_option(const KindSection& kinds, const JsonMember& member,
                                   const std::string& key) const {
    const std::vector<std::string_view> keys = keys_of(kinds.options().info());
    std::string reason = "unknown option, the kind " + in_quotes(kinds.kind());
    if (keys.empty()) {
      reason += " has no options";
    } else {
      reason += " has the options " + join(keys, ", ") + "; did you mean " +
                in_quotes(nearest(member.key, keys)) + "?";
    }
    fail(member.line, key, reason);
  }

  /// An override's text read as JSON; everything else as it is.
  JsonValue parsed(const JsonValue& value, const std::string& key) const {
    if (value.type != JsonValue::Type::raw) return value;
    try {
      JsonValue result =
          parse_json_value(value.text, source_ + ':' + printable(key, 200), ErrorKind::usage);
      result.line = 0;
      return result;
    } catch (const Error& error) {
      if (value.text.starts_with('{') || value.text.starts_with('[')) {
        if (value.text.find('"') != std::string::npos) throw;
        throw Error(error.kind(), std::string(error.what()) +
                                      "; a shell takes quotes away, unless the whole option stands "
                                      "in single quotes");
      }
      // Not JSON: the field says what it expected and that it found this text.
      return value;
    }
  }

  [[noreturn]] void fail(const JsonValue& value, const std::string& key,
                         std::string_view reason) const {
    fail(value.line, key, reason);
  }
  [[noreturn]] void fail(int line, const std::string& key, std::string_view reason) const {
    throw Error(ErrorKind::usage,
                located(source_, source_ == kCommandLine ? 0 : line, printable(key, 200), reason));
  }

  ConfigReader& config_;
  std::string source_;
};

void ConfigReader::read_value(const JsonValue& object, std::string_view source) {
  source_ = source;
  LayerReader(*this, source).section(info_, object_, object, "");
}

void ConfigReader::read_text(std::string_view text, std::string_view source) {
  const JsonValue value = parse_json_value(text, source, ErrorKind::usage);
  if (const JsonValue* extends = value.find("extends"); extends != nullptr) {
    throw Error(ErrorKind::usage,
                located(source, extends->line, "extends", "only a config file can extend another"));
  }
  read_value(value, source);
}

void ConfigReader::read_file(const std::filesystem::path& path) {
  std::vector<std::string> chain;
  read_file(path, chain);
}

void ConfigReader::read_file(const std::filesystem::path& path, std::vector<std::string>& chain) {
  const std::string source = path.string();
  const std::string text = read_text_file(path, ErrorKind::usage, kMaxConfigBytes);
  std::error_code ignored;
  chain.push_back(std::filesystem::weakly_canonical(path, ignored).string());
  const JsonValue value = parse_json_value(text, source, ErrorKind::usage);
  if (value.type != JsonValue::Type::object) {
    throw Error(ErrorKind::usage,
                located(source, value.line, "", "expected an object, found " + describe(value)));
  }
  if (const JsonValue* extends = value.find("extends"); extends != nullptr) {
    const auto refuse = [&](const std::string& reason) {
      throw Error(ErrorKind::usage, located(source, extends->line, "extends", reason));
    };
    if (extends->type != JsonValue::Type::string || extends->text.empty()) {
      refuse("expected the path of another config file, found " + describe(*extends));
    }
    const std::filesystem::path other = path.parent_path() / extends->text;
    const std::string canonical = std::filesystem::weakly_canonical(other, ignored).string();
    if (std::ranges::find(chain, canonical) != chain.end()) {
      refuse("the files extend each other in a circle: " + in_quotes(extends->text, 200) +
             " has been read before");
    }
    if (!std::filesystem::exists(other, ignored)) {
      refuse("there is no file " + in_quotes(other.string(), 200) +
             "; the path is relative to the file that names it");
    }
    read_file(other, chain);
  }
  read_value(value, source);
}

namespace {

/// Puts the text of one override into the tree of all of them.
void insert_override(JsonValue& tree, std::string_view key, std::string_view text) {
  JsonValue* at = &tree;
  std::size_t depth = 0;
  while (true) {
    const std::size_t dot = key.find('.');
    const std::string_view part = key.substr(0, dot);
    if (part.empty() || ++depth > kMaxJsonDepth) {
      throw Error(ErrorKind::usage, located(kCommandLine, 0, printable(key),
                                            "expected names with single dots between them"));
    }
    JsonValue* next = at->find(part);
    if (next == nullptr) {
      at->add(part, JsonValue::object());
      next = &at->members.back().value;
    }
    if (dot == std::string_view::npos) {
      *next = JsonValue::raw(text);
      return;
    }
    if (next->type == JsonValue::Type::raw) {
      *next = parse_json_value(next->text, kCommandLine, ErrorKind::usage);
    }
    if (next->type != JsonValue::Type::object) *next = JsonValue::object();
    at = next;
    key = key.substr(dot + 1);
  }
}

}  // namespace

void ConfigReader::read_overrides(std::span<const std::string> overrides) {
  if (overrides.empty()) return;
  JsonValue tree = JsonValue::object();
  for (const std::string& written : overrides) {
    std::string_view text = written;
    while (text.starts_with('-')) text.remove_prefix(1);
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos || equals == 0) {
      throw Error(ErrorKind::usage,
                  located(kCommandLine, 0, "",
                          "expected --section.key=value, found " + in_quotes(written, 200)));
    }
    if (find_invalid_utf8(text) != std::string_view::npos) {
      throw Error(ErrorKind::usage,
                  located(kCommandLine, 0, printable(text.substr(0, equals)), "is not UTF-8"));
    }
    insert_override(tree, text.substr(0, equals), text.substr(equals + 1));
  }
  for (const char* key : {"extends", "$schema"}) {
    if (tree.find(key) != nullptr) {
      throw Error(ErrorKind::usage, located(kCommandLine, 0, key, "only a file can have this key"));
    }
  }
  const std::string file = std::exchange(source_, std::string(kCommandLine));
  LayerReader(*this, kCommandLine).section(info_, object_, tree, "");
  source_ = file;
}

}  // namespace ssmax::base::untyped
