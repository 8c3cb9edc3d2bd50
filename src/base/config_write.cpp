#include <map>
#include <utility>

#include "base/config.h"

namespace ssmax::base::untyped {
namespace {

std::string_view enumerator_name(const FieldInfo& field, const void* member) {
  const std::int64_t value = field.read_enum(member);
  for (const auto& entry : field.names) {
    if (entry.value == value) return entry.name;
  }
  throw std::logic_error("an enumerator without a name: " + std::string(field.key));
}

JsonValue list_of(const std::vector<std::string>& strings) {
  JsonValue list = JsonValue::array();
  for (const std::string& text : strings) list.items.push_back(JsonValue::of(text));
  return list;
}

JsonValue write_field(const FieldInfo& field, const void* member) {
  switch (field.type) {
    case FieldType::boolean:
      return JsonValue::of(*static_cast<const bool*>(member));
    case FieldType::integer:
      return JsonValue::of(*static_cast<const std::int64_t*>(member));
    case FieldType::number:
      return JsonValue::of(*static_cast<const double*>(member));
    case FieldType::string:
      return JsonValue::of(*static_cast<const std::string*>(member));
    case FieldType::enumeration:
      return JsonValue::of(enumerator_name(field, member));
    case FieldType::string_list:
      return list_of(*static_cast<const std::vector<std::string>*>(member));
    case FieldType::section:
      return write(field.section(), member);
    case FieldType::kind_section: {
      const auto& kinds = *static_cast<const KindSection*>(member);
      JsonValue object = JsonValue::object();
      object.add("kind", JsonValue::of(std::string_view(kinds.kind())));
      for (JsonMember& option : kinds.options().write().members) {
        object.members.push_back(std::move(option));
      }
      return object;
    }
  }
  return {};
}

}  // namespace

JsonValue write(const SectionInfo& info, const void* object) {
  JsonValue result = JsonValue::object();
  for (const FieldInfo& field : info.fields) {
    result.add(field.key, write_field(field, field.in(object)));
  }
  return result;
}

std::vector<ConfigDifference> differences(const JsonValue& left, const JsonValue& right) {
  const auto left_leaves = leaves_of(left);
  const auto right_leaves = leaves_of(right);
  std::map<std::string, std::string> right_only(right_leaves.begin(), right_leaves.end());
  std::vector<ConfigDifference> result;
  for (const auto& [key, value] : left_leaves) {
    const auto other = right_only.find(key);
    if (other == right_only.end()) {
      result.push_back({key, value, ""});
      continue;
    }
    if (other->second != value) result.push_back({key, value, other->second});
    right_only.erase(other);
  }
  for (const auto& [key, value] : right_leaves) {
    if (right_only.contains(key)) result.push_back({key, "", value});
  }
  return result;
}

}  // namespace ssmax::base::untyped
