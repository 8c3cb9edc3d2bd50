#include "base/config.h"
#include "base/strict_json.h"

namespace ssmax::base::untyped {
namespace {

std::string dotted(const std::string& prefix, std::string_view key) {
  return prefix.empty() ? std::string(key) : prefix + '.' + std::string(key);
}

}  // namespace

void ConfigReader::fail(const std::string& key, std::string_view reason) const {
  // The nearest section that some line names stands in for a key that keeps its default.
  std::string at = key;
  while (true) {
    if (const auto origin = origins_.find(at); origin != origins_.end()) {
      throw Error(ErrorKind::usage,
                  located(origin->second.source, origin->second.line, key, reason));
    }
    const std::size_t dot = at.find_last_of(".[");
    if (dot == std::string::npos) break;
    at.resize(dot);
  }
  throw Error(ErrorKind::usage, located(source_, 0, key, reason));
}

namespace {

std::string number_text(double value) { return to_text(JsonValue::of(value)); }

/// A bound as one would write it: 1 and not 1.0.
std::string bound_text(double value) {
  const std::string text = number_text(value);
  return text.ends_with(".0") ? text.substr(0, text.size() - 2) : text;
}

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
  const auto refuse = [&](const std::string& at, const std::string& reason) {
    if (!reason.empty()) fail(at, reason);
  };
  const auto element = [&](std::size_t i) { return key + '[' + std::to_string(i) + ']'; };
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
      const std::int64_t value = field.size == sizeof(std::int32_t)
                                     ? *static_cast<const std::int32_t*>(member)
                                     : *static_cast<const std::int64_t*>(member);
      return refuse(key, broken_bound(c, static_cast<double>(value), std::to_string(value)));
    }
    case FieldType::number: {
      const double value = *static_cast<const double*>(member);
      return refuse(key, broken_bound(c, value, number_text(value)));
    }
    case FieldType::integer_list: {
      const auto& values = *static_cast<const std::vector<std::int64_t>*>(member);
      if (c.non_empty && values.empty()) fail(key, "must be given and not be empty");
      for (std::size_t i = 0; i < values.size(); ++i) {
        refuse(element(i),
               broken_bound(c, static_cast<double>(values[i]), std::to_string(values[i])));
      }
      return;
    }
    case FieldType::number_list: {
      const auto& values = *static_cast<const std::vector<double>*>(member);
      if (c.non_empty && values.empty()) fail(key, "must be given and not be empty");
      for (std::size_t i = 0; i < values.size(); ++i) {
        refuse(element(i), broken_bound(c, values[i], number_text(values[i])));
      }
      return;
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

void ConfigReader::finish(std::string_view prefix) { check(info_, object_, std::string(prefix)); }

}  // namespace ssmax::base::untyped
