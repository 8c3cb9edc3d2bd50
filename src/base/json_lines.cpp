#include "base/json_lines.h"

#include <algorithm>

#include "base/read_file.h"
#include "base/strict_json.h"
#include "base/text.h"

namespace ssmax::base {

namespace {

/// What stands where a member was expected.
std::string found(const JsonValue& value, const JsonValue* member) {
  if (member != nullptr) return describe(*member);
  if (value.type != JsonValue::Type::object || value.members.empty()) return describe(value);
  std::string keys;
  for (const JsonMember& other : value.members) {
    keys += (keys.empty() ? "one with " : ", ") + in_quotes(other.key, 40);
    if (keys.size() > 200) return keys + ", ...";
  }
  return keys;
}

}  // namespace

JsonValue parse_json_line(std::string_view text, std::string_view source, std::int64_t line,
                          ErrorKind kind) {
  try {
    return parse_json_value(text, source, kind);
  } catch (const Error&) {
    // Once more with the lines before it, for the right number in the message.
    std::string placed(static_cast<std::size_t>(line - 1), '\n');
    return parse_json_value(placed.append(text), source, kind);
  }
}

void visit_json_lines(const std::filesystem::path& path, ErrorKind kind,
                      const std::function<void(const JsonValue& value, std::int64_t line)>& visit) {
  const std::string text = read_text_file(path, kind);
  const std::string source = path.string();
  std::string_view rest = text;
  for (std::int64_t number = 1; !rest.empty(); ++number) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    visit(parse_json_line(line, source, number, kind), number);
  }
}

const std::string& string_member(const JsonValue& value, std::string_view key,
                                 std::string_view source, std::int64_t line, ErrorKind kind) {
  const JsonValue* member = value.type == JsonValue::Type::object ? value.find(key) : nullptr;
  if (member == nullptr || member->type != JsonValue::Type::string) {
    throw Error(kind, located(source, static_cast<int>(line), "",
                              "expected an object with the string \"" + std::string(key) +
                                  "\", found " + found(value, member)));
  }
  return member->text;
}

}  // namespace ssmax::base
