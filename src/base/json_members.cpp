#include "base/json_members.h"

#include <utility>

#include "base/strict_json.h"
#include "base/text.h"

namespace ssmax::base {

JsonMembers::JsonMembers(const JsonValue& object, std::string_view source, ErrorKind kind,
                         std::string prefix)
    : object_(object), source_(source), kind_(kind), prefix_(std::move(prefix)) {
  if (object.type != JsonValue::Type::object) {
    fail(object, "", "expected an object, found " + describe(object));
  }
}

const JsonValue& JsonMembers::take(std::string_view key, JsonValue::Type type,
                                   std::string_view expected) {
  const JsonValue* value = object_.find(key);
  if (value == nullptr) fail(object_, key, "is missing");
  if (value->type != type) {
    fail(*value, key, "expected " + std::string(expected) + ", found " + describe(*value));
  }
  taken_.emplace(key);
  return *value;
}

std::int64_t JsonMembers::integer(std::string_view key, std::int64_t least) {
  const JsonValue& value = take(key, JsonValue::Type::integer, "an integer");
  if (value.integer < least) {
    fail(value, key,
         "expected at least " + std::to_string(least) + ", found " + std::to_string(value.integer));
  }
  return value.integer;
}

const std::string& JsonMembers::text(std::string_view key) {
  return take(key, JsonValue::Type::string, "a string").text;
}

const JsonValue& JsonMembers::object(std::string_view key) {
  return take(key, JsonValue::Type::object, "an object");
}

const std::vector<JsonValue>& JsonMembers::list(std::string_view key) {
  return take(key, JsonValue::Type::array, "a list").items;
}

std::vector<double> JsonMembers::numbers(std::string_view key) {
  std::vector<double> result;
  for (const JsonValue& item : take(key, JsonValue::Type::array, "a list of numbers").items) {
    if (item.type == JsonValue::Type::integer) {
      result.push_back(static_cast<double>(item.integer));
    } else if (item.type == JsonValue::Type::number) {
      result.push_back(item.number);
    } else {
      fail(item, key, "expected a list of numbers, found " + describe(item));
    }
  }
  return result;
}

void JsonMembers::finish(std::string_view what) const {
  for (const JsonMember& member : object_.members) {
    if (taken_.contains(member.key)) continue;
    fail(member.value, member.key, "is not a key of " + std::string(what));
  }
}

void JsonMembers::fail(const JsonValue& value, std::string_view key,
                       std::string_view reason) const {
  throw Error(kind_, located(source_, value.line, prefix_ + printable(key), reason));
}

}  // namespace ssmax::base
