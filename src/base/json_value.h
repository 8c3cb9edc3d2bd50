#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ssmax::base {

struct JsonMember;

/// One JSON value with the line it was read from; members keep the order of the file.
struct JsonValue {
  /// `raw` is the text of a command-line override, whose type only the field it meets can tell.
  enum class Type { null, boolean, integer, number, string, array, object, raw };

  Type type = Type::null;
  int line = 0;  // 1-based; 0 when the value was not read from a file
  bool boolean = false;
  std::int64_t integer = 0;
  double number = 0.0;
  std::string text;                 // a string's or override's text; a number as it was written
  std::vector<JsonValue> items;     // of an array
  std::vector<JsonMember> members;  // of an object

  static JsonValue of(bool value);
  static JsonValue of(std::int64_t value);
  static JsonValue of(double value);
  static JsonValue of(std::string_view value);
  static JsonValue of(const char* value);
  static JsonValue raw(std::string_view value);
  static JsonValue array();
  static JsonValue object();

  /// The member of that key, or nullptr.
  const JsonValue* find(std::string_view key) const;
  JsonValue* find(std::string_view key);
  /// Appends a member, for values that we write; returns this object.
  JsonValue& add(std::string_view key, JsonValue value);
};

struct JsonMember {
  std::string key;
  int line = 0;
  JsonValue value;
};

/// What the value is, for "found ..." in an error: `the string "3"`, `true`, `1.9`, `a list`.
std::string describe(const JsonValue& value);

/// Every value below `value` that is no object: its dotted key and its JSON text.
std::vector<std::pair<std::string, std::string>> leaves_of(const JsonValue& value);

/// JSON text; `indent` < 0 writes one line. Members keep their order.
std::string to_text(const JsonValue& value, int indent = -1);

}  // namespace ssmax::base
