#include "base/strict_json.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>
#include <utility>

#include "base/text.h"
#include "base/utf8.h"

namespace ssmax::base {
namespace {

using Json = nlohmann::ordered_json;

/// How far the parser has read, and the line of the token it handed over last.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : counted_(text.data()), consumed_(text.data()) {}

  void consumed(const char* next) { consumed_ = next; }

  /// The byte read last is left out: after a number it already belongs to what follows.
  int line() {
    const char* end = consumed_ > counted_ ? consumed_ - 1 : counted_;
    line_ += static_cast<int>(std::count(counted_, end, '\n'));
    counted_ = end;
    return line_;
  }

 private:
  const char* counted_;
  const char* consumed_;
  int line_ = 1;
};

/// Reads the text for the parser and tells the cursor; the parser itself gives no positions.
class CursorIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CursorIterator(const char* at, Cursor* cursor) : at_(at), cursor_(cursor) {}

  reference operator*() const { return *at_; }
  CursorIterator& operator++() {
    cursor_->consumed(++at_);
    return *this;
  }
  CursorIterator operator++(int) {
    CursorIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CursorIterator& other) const { return at_ == other.at_; }

 private:
  const char* at_;
  Cursor* cursor_;
};

/// Receives the parser's events and builds the tree; throws at the first thing that is refused.
class TreeBuilder {
 public:
  TreeBuilder(std::string_view source, ErrorKind kind, Cursor& cursor)
      : source_(source), kind_(kind), cursor_(cursor) {}

  JsonValue take() { return std::move(root_); }

  bool null() { return put({}); }
  bool boolean(bool value) { return put(JsonValue::of(value)); }
  bool number_integer(std::int64_t value) { return put(JsonValue::of(value)); }
  bool number_unsigned(std::uint64_t value) {
    if (std::in_range<std::int64_t>(value)) {
      return put(JsonValue::of(static_cast<std::int64_t>(value)));
    }
    return number_float(static_cast<double>(value), std::to_string(value));
  }
  bool number_float(double value, const std::string& written) {
    JsonValue number = JsonValue::of(value);
    number.text = written;
    return put(std::move(number));
  }
  bool string(std::string& value) {
    JsonValue text;
    text.type = JsonValue::Type::string;
    text.text = std::move(value);
    return put(std::move(text));
  }
  bool binary(Json::binary_t&) { return false; }

  bool start_object(std::size_t) { return open(JsonValue::Type::object); }
  bool start_array(std::size_t) { return open(JsonValue::Type::array); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(std::string& name) {
    Frame& frame = frames_.back();
    frame.key = std::move(name);
    frame.key_line = cursor_.line();
    if (!frame.keys.insert(frame.key).second) {
      fail("the key appears twice in one object");
    }
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const Json::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error while ..."
    std::string_view reason = error.what();
    reason.remove_prefix(std::min(reason.size(), reason.find("] ") + 2));
    if (reason.starts_with("parse error at line")) {
      reason.remove_prefix(std::min(reason.size(), reason.find(": ") + 2));
    }
    fail(printable(reason, 240));
  }

 private:
  struct Frame {
    JsonValue value;
    std::string key;
    int key_line = 0;
    std::unordered_set<std::string> keys;
  };

  bool put(JsonValue value) {
    value.line = cursor_.line();
    return attach(std::move(value));
  }

  bool attach(JsonValue value) {
    if (frames_.empty()) {
      root_ = std::move(value);
    } else if (Frame& frame = frames_.back(); frame.value.type == JsonValue::Type::array) {
      frame.value.items.push_back(std::move(value));
    } else {
      frame.value.members.push_back({std::move(frame.key), frame.key_line, std::move(value)});
      frame.key.clear();
    }
    return true;
  }

  bool open(JsonValue::Type type) {
    if (frames_.size() >= kMaxJsonDepth) {
      fail("nested deeper than " + std::to_string(kMaxJsonDepth) + " levels");
    }
    Frame frame;
    frame.value.type = type;
    frame.value.line = cursor_.line();
    frames_.push_back(std::move(frame));
    return true;
  }

  bool close() {
    JsonValue value = std::move(frames_.back().value);
    frames_.pop_back();
    return attach(std::move(value));
  }

  std::string path() const {
    std::string result;
    for (const Frame& frame : frames_) {
      if (frame.value.type == JsonValue::Type::array) {
        result += '[' + std::to_string(frame.value.items.size()) + ']';
      } else if (!frame.key.empty()) {
        if (!result.empty()) result += '.';
        result += printable(frame.key);
      }
      if (result.size() > 200) return result + "...";
    }
    return result;
  }

  [[noreturn]] void fail(std::string_view reason) {
    throw Error(kind_, located(source_, cursor_.line(), path(), reason));
  }

  std::string_view source_;
  ErrorKind kind_;
  Cursor& cursor_;
  JsonValue root_;
  std::vector<Frame> frames_;
};

/// What can be said before parsing: nothing there, a byte-order mark, not UTF-8.
void check_encoding(std::string_view text, std::string_view source, ErrorKind kind) {
  const auto fail = [&](int line, const std::string& reason) {
    throw Error(kind, located(source, line, "", reason));
  };
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    fail(1, "expected a JSON value, found nothing: the text is empty");
  }
  if (text.starts_with("\xEF\xBB\xBF") || text.starts_with("\xFF\xFE") ||
      text.starts_with("\xFE\xFF")) {
    fail(1, "starts with a byte-order mark; save it as UTF-8 without one");
  }
  const auto fail_at = [&](std::size_t at, const char* reason) {
    const auto end = text.begin() + static_cast<std::ptrdiff_t>(at);
    fail(1 + static_cast<int>(std::count(text.begin(), end, '\n')),
         "the byte " + printable(text.substr(at, 1)) + " at offset " + std::to_string(at) + reason);
  };
  if (const std::size_t at = find_invalid_utf8(text); at != std::string_view::npos) {
    fail_at(at, " is not UTF-8");
  }
  // The library takes a zero byte for the end and would not look at what follows.
  if (const std::size_t at = text.find('\0'); at != std::string_view::npos) {
    fail_at(at, " has no place in JSON");
  }
}

Json convert(const JsonValue& value) {
  switch (value.type) {
    case JsonValue::Type::null:
      return nullptr;
    case JsonValue::Type::boolean:
      return value.boolean;
    case JsonValue::Type::integer:
      return value.integer;
    case JsonValue::Type::number:
      return value.number;
    case JsonValue::Type::string:
    case JsonValue::Type::raw:
      return value.text;
    case JsonValue::Type::array: {
      Json list = Json::array();
      for (const JsonValue& item : value.items) list.push_back(convert(item));
      return list;
    }
    case JsonValue::Type::object: {
      Json object = Json::object();
      // Straight to the end of the list below: every other way in searches it for the key first.
      auto& members = object.get_ref<Json::object_t&>();
      for (const JsonMember& member : value.members) {
        members.emplace_back(member.key, convert(member.value));
      }
      return object;
    }
  }
  return nullptr;
}

}  // namespace

JsonValue parse_json_value(std::string_view text, std::string_view source, ErrorKind kind) {
  check_encoding(text, source, kind);
  Cursor cursor(text);
  TreeBuilder builder(source, kind, cursor);
  const char* end = text.data() + text.size();
  Json::sax_parse(CursorIterator(text.data(), &cursor), CursorIterator(end, &cursor), &builder);
  return builder.take();
}

std::string located(std::string_view source, int line, std::string_view key,
                    std::string_view reason) {
  std::string result(source);
  if (line > 0) result += ':' + std::to_string(line);
  if (!key.empty()) result.append(":").append(key);
  return result.append(": ").append(reason);
}

JsonValue JsonValue::of(bool value) {
  JsonValue result;
  result.type = Type::boolean;
  result.boolean = value;
  return result;
}

JsonValue JsonValue::of(std::int64_t value) {
  JsonValue result;
  result.type = Type::integer;
  result.integer = value;
  return result;
}

JsonValue JsonValue::of(double value) {
  JsonValue result;
  result.type = Type::number;
  result.number = value;
  return result;
}

JsonValue JsonValue::of(std::string_view value) {
  JsonValue result;
  result.type = Type::string;
  result.text = value;
  return result;
}

JsonValue JsonValue::of(const char* value) { return of(std::string_view(value)); }

JsonValue JsonValue::raw(std::string_view value) {
  JsonValue result = of(value);
  result.type = Type::raw;
  return result;
}

JsonValue JsonValue::array() {
  JsonValue result;
  result.type = Type::array;
  return result;
}

JsonValue JsonValue::object() {
  JsonValue result;
  result.type = Type::object;
  return result;
}

const JsonValue* JsonValue::find(std::string_view key) const {
  for (const JsonMember& member : members) {
    if (member.key == key) return &member.value;
  }
  return nullptr;
}

JsonValue* JsonValue::find(std::string_view key) {
  return const_cast<JsonValue*>(std::as_const(*this).find(key));
}

JsonValue& JsonValue::add(std::string_view key, JsonValue value) {
  members.push_back({std::string(key), 0, std::move(value)});
  return *this;
}

namespace {

void collect_leaves(const JsonValue& value, const std::string& key,
                    std::vector<std::pair<std::string, std::string>>& leaves) {
  if (value.type != JsonValue::Type::object) {
    leaves.emplace_back(key, to_text(value));
    return;
  }
  for (const JsonMember& member : value.members) {
    collect_leaves(member.value, dotted(key, member.key), leaves);
  }
}

}  // namespace

std::vector<std::pair<std::string, std::string>> leaves_of(const JsonValue& value) {
  std::vector<std::pair<std::string, std::string>> leaves;
  collect_leaves(value, "", leaves);
  return leaves;
}

std::string describe(const JsonValue& value) {
  switch (value.type) {
    case JsonValue::Type::null:
      return "null";
    case JsonValue::Type::boolean:
      return value.boolean ? "true" : "false";
    case JsonValue::Type::integer:
      return std::to_string(value.integer);
    case JsonValue::Type::number:
      return value.text.empty() ? to_text(value) : printable(value.text, 40);
    case JsonValue::Type::string:
      return "the string " + in_quotes(value.text, 40);
    case JsonValue::Type::raw:
      return in_quotes(value.text, 40);
    case JsonValue::Type::array:
      return "a list";
    case JsonValue::Type::object:
      return "an object";
  }
  return "nothing";
}

std::string to_text(const JsonValue& value, int indent) {
  return convert(value).dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace ssmax::base
