#include "base/config.h"
#include "base/strict_json.h"
#include "base/text.h"

namespace ssmax::base::untyped {

void ConfigReader::fail(const std::string& key, std::string_view reason) const {
  // The nearest section that some line names stands in for a key that keeps its default.
  std::string at = key;
  while (true) {
    if (const auto origin = origins_.find(at); origin != origins_.end()) {
      throw Error(ErrorKind::usage,
                  located(origin->second.source, origin->second.line, key, reason));
    }
    const std::size_t dot = at.rfind('.');
    if (dot == std::string::npos) break;
    at.resize(dot);
  }
  throw Error(ErrorKind::usage, located(source_, 0, key, reason));
}

namespace {

/// What is wrong with a number, or nothing.
std::string broken_bound(const Constraints& c, double value, const std::string& found) {
  const auto must = [&](const char* relation, double bound) {
    return std::string("must be ") + relation + ' ' + bound_text(bound) + ", found " + found;
  };
  if (c.at_least && !(value >= *c.at_least)) return must("at least", *c.at_least);
  if (c.at_most && !(value <= *c.at_most)) return must("at most", *c.at_most);
  if (c.above && !(value > *c.above)) return must("above", *c.above);
  if (c.below && !(value < *c.below)) return must("below", *c.below);
  return "";
}

}  // namespace

void ConfigReader::check_field(const FieldInfo& field, const void* member,
                               const std::string& key) const {
  const Constraints& c = field.constraints;
  const auto refuse = [&](const std::string& reason) {
    if (!reason.empty()) fail(key, reason);
  };
  switch (field.type) {
    case FieldType::section:
      return check(field.section(), member, key);
    case FieldType::kind_section: {
      const auto& kinds = *static_cast<const KindSection*>(member);
      return check(kinds.options().info(), kinds.options().object(), key);
    }
    case FieldType::boolean:
    case FieldType::enumeration:
      return;
    case FieldType::string:
      if (c.non_empty && static_cast<const std::string*>(member)->empty()) {
        fail(key, "must be given and not be empty");
      }
      return;
    case FieldType::integer: {
      const std::int64_t value = *static_cast<const std::int64_t*>(member);
      return refuse(broken_bound(c, static_cast<double>(value), std::to_string(value)));
    }
    case FieldType::number: {
      const double value = *static_cast<const double*>(member);
      return refuse(broken_bound(c, value, to_text(JsonValue::of(value))));
    }
    case FieldType::string_list:
      if (c.non_empty && static_cast<const std::vector<std::string>*>(member)->empty()) {
        fail(key, "must be given and not be empty");
      }
      return;
  }
}

void ConfigReader::check(const SectionInfo& info, const void* object,
                         const std::string& prefix) const {
  for (const FieldInfo& field : info.fields) {
    check_field(field, field.in(object), dotted(prefix, field.key));
  }
  if (info.validate == nullptr) return;
  try {
    info.validate(object);
  } catch (const FieldError& error) {
    fail(dotted(prefix, error.key()), error.reason());
  }
}

void ConfigReader::finish() { check(info_, object_, ""); }

}  // namespace ssmax::base::untyped
