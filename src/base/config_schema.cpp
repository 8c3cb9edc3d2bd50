#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "base/config.h"
#include "base/text.h"

namespace ssmax::base::untyped {
namespace {

/// A section with its defaults, alive as long as this is.
struct Defaults {
  explicit Defaults(const SectionInfo& section)
      : object(section.create(), section.destroy), values(write(section, object.get())) {}

  std::unique_ptr<void, void (*)(void*)> object;
  JsonValue values;
};

/// Moves the members of `from` to the end of `to`.
void append(JsonValue& to, JsonValue from) {
  for (JsonMember& member : from.members) to.members.push_back(std::move(member));
}

JsonValue names_of(const FieldInfo& field) {
  JsonValue names = JsonValue::array();
  for (const auto& entry : field.names) names.items.push_back(JsonValue::of(entry.name));
  return names;
}

/// A bound of an integer is written as an integer.
JsonValue bound(const FieldInfo& field, double value) {
  return field.type == FieldType::integer ? JsonValue::of(static_cast<std::int64_t>(value))
                                          : JsonValue::of(value);
}

void add_bounds(JsonValue& schema, const FieldInfo& field) {
  const Constraints& c = field.constraints;
  if (c.at_least) schema.add("minimum", bound(field, *c.at_least));
  if (c.at_most) schema.add("maximum", bound(field, *c.at_most));
  if (c.above) schema.add("exclusiveMinimum", bound(field, *c.above));
  if (c.below) schema.add("exclusiveMaximum", bound(field, *c.below));
}

JsonValue properties_of(const SectionInfo& info, const void* defaults);

JsonValue closed_object(JsonValue properties) {
  JsonValue schema = JsonValue::object();
  schema.add("type", JsonValue::of("object"));
  schema.add("properties", std::move(properties));
  schema.add("additionalProperties", JsonValue::of(false));
  return schema;
}

/// One alternative per kind, and one for a file that leaves the kind to the file it extends.
JsonValue alternatives(const KindSection& section) {
  JsonValue list = JsonValue::array();
  JsonValue any_option = JsonValue::object();
  for (const KindEntry& kind : section.table()()) {
    const AnySection options = kind.make();
    JsonValue properties = JsonValue::object();
    JsonValue name = JsonValue::object();
    name.add("const", JsonValue::of(std::string_view(kind.name)));
    properties.add("kind", std::move(name));
    for (JsonMember& option : properties_of(options.info(), options.object()).members) {
      if (any_option.find(option.key) == nullptr) any_option.add(option.key, JsonValue::of(true));
      properties.members.push_back(std::move(option));
    }
    JsonValue alternative = JsonValue::object();
    alternative.add("title", JsonValue::of(std::string_view(kind.name)));
    alternative.add("description", JsonValue::of(std::string_view(kind.help)));
    append(alternative, closed_object(std::move(properties)));
    JsonValue required = JsonValue::array();
    required.items.push_back(JsonValue::of("kind"));
    alternative.add("required", std::move(required));
    list.items.push_back(std::move(alternative));
  }
  JsonValue inherited = JsonValue::object();
  inherited.add("description", JsonValue::of("Options of the kind that the extended file chose"));
  append(inherited, closed_object(std::move(any_option)));
  list.items.push_back(std::move(inherited));
  return list;
}

JsonValue field_schema(const FieldInfo& field, const void* member, const JsonValue& value) {
  JsonValue schema = JsonValue::object();
  schema.add("description", JsonValue::of(field.help));
  const auto type = [&](const char* name) { schema.add("type", JsonValue::of(name)); };
  switch (field.type) {
    case FieldType::section:
      append(schema, closed_object(properties_of(field.section(), member)));
      return schema;
    case FieldType::kind_section: {
      const auto& kinds = *static_cast<const KindSection*>(member);
      schema.add("type", JsonValue::of("object"));
      schema.add("oneOf", alternatives(kinds));
      schema.add("default", value);
      return schema;
    }
    case FieldType::boolean:
      type("boolean");
      break;
    case FieldType::integer:
      type("integer");
      add_bounds(schema, field);
      break;
    case FieldType::number:
      type("number");
      add_bounds(schema, field);
      break;
    case FieldType::string:
      type("string");
      if (field.constraints.non_empty) schema.add("minLength", JsonValue::of(std::int64_t{1}));
      break;
    case FieldType::enumeration:
      type("string");
      schema.add("enum", names_of(field));
      break;
    case FieldType::string_list: {
      type("array");
      JsonValue items = JsonValue::object();
      items.add("type", JsonValue::of("string"));
      schema.add("items", std::move(items));
      if (field.constraints.non_empty) schema.add("minItems", JsonValue::of(std::int64_t{1}));
      break;
    }
  }
  schema.add("default", value);
  return schema;
}

JsonValue properties_of(const SectionInfo& info, const void* defaults) {
  const JsonValue values = write(info, defaults);
  JsonValue properties = JsonValue::object();
  for (const FieldInfo& field : info.fields) {
    properties.add(field.key, field_schema(field, field.in(defaults), *values.find(field.key)));
  }
  return properties;
}

/// " >= 1, < 2": the limits of a number, as they follow its type.
std::string bounds_text(const Constraints& c) {
  std::string text;
  const auto add = [&](const char* relation, const std::optional<double>& value) {
    if (!value) return;
    text += (text.empty() ? " " : ", ") + std::string(relation) + ' ' + bound_text(*value);
  };
  add(">=", c.at_least);
  add(">", c.above);
  add("<=", c.at_most);
  add("<", c.below);
  return text;
}

std::string type_text(const FieldInfo& field) {
  const std::string bounds = bounds_text(field.constraints);
  switch (field.type) {
    case FieldType::boolean:
      return "true or false";
    case FieldType::integer:
      return "integer" + bounds;
    case FieldType::number:
      return "number" + bounds;
    case FieldType::string:
      return field.constraints.non_empty ? "string, not empty" : "string";
    case FieldType::enumeration: {
      std::vector<std::string_view> names;
      for (const auto& entry : field.names) names.push_back(entry.name);
      return join(names, " | ");
    }
    case FieldType::string_list:
      return field.constraints.non_empty ? "list of strings, not empty" : "list of strings";
    case FieldType::section:
    case FieldType::kind_section:
      return "section";
  }
  return "";
}

struct Row {
  std::string key;
  std::string type;
  std::string value;
  std::string help;
};

void collect_rows(const SectionInfo& info, const void* defaults, const std::string& prefix,
                  const std::string& note, std::vector<Row>& rows) {
  const JsonValue values = write(info, defaults);
  for (const FieldInfo& field : info.fields) {
    const std::string key = prefix + std::string(field.key);
    const void* member = field.in(defaults);
    if (field.type == FieldType::section) {
      collect_rows(field.section(), member, key + '.', note, rows);
    } else if (field.type == FieldType::kind_section) {
      const auto& section = *static_cast<const KindSection*>(member);
      std::vector<std::string_view> names;
      for (const KindEntry& kind : section.table()()) names.push_back(kind.name);
      rows.push_back({key + ".kind", join(names, " | "), '"' + section.kind() + '"',
                      note + std::string(field.help)});
      for (const KindEntry& kind : section.table()()) {
        const AnySection options = kind.make();
        collect_rows(options.info(), options.object(), key + '.', note + kind.name + ": ", rows);
      }
    } else {
      rows.push_back({key, type_text(field), to_text(*values.find(field.key)),
                      note + std::string(field.help)});
    }
  }
}

/// Whether `key` is `prefix` or stands below it.
bool is_below(std::string_view key, std::string_view prefix) {
  return prefix.empty() || key == prefix ||
         (key.starts_with(prefix) && key.substr(prefix.size()).starts_with('.'));
}

/// All keys and all sections above them, to guess what was meant.
[[noreturn]] void unknown_prefix(const std::vector<Row>& rows, std::string_view prefix) {
  std::set<std::string> names;
  for (const Row& row : rows) {
    for (std::size_t dot = row.key.find('.'); dot != std::string::npos;
         dot = row.key.find('.', dot + 1)) {
      names.insert(row.key.substr(0, dot));
    }
    names.insert(row.key);
  }
  const std::vector<std::string_view> candidates(names.begin(), names.end());
  throw Error(ErrorKind::usage, "there is no key or section " + in_quotes(prefix) +
                                    ", did you mean " + in_quotes(nearest(prefix, candidates)) +
                                    "?");
}

}  // namespace

JsonValue schema(const SectionInfo& info, std::string_view title) {
  const Defaults defaults(info);
  const auto text_property = [](const char* help) {
    JsonValue property = JsonValue::object();
    property.add("description", JsonValue::of(help));
    property.add("type", JsonValue::of("string"));
    return property;
  };
  JsonValue properties = JsonValue::object();
  properties.add("$schema", text_property("The schema of this file, for editors"));
  properties.add("extends",
                 text_property("A config file that this one changes; relative to this file"));
  append(properties, properties_of(info, defaults.object.get()));
  JsonValue result = JsonValue::object();
  result.add("$schema", JsonValue::of("https://json-schema.org/draft/2020-12/schema"));
  result.add("title", JsonValue::of(title));
  append(result, closed_object(std::move(properties)));
  return result;
}

std::string explain(const SectionInfo& info, std::string_view prefix) {
  const Defaults defaults(info);
  std::vector<Row> rows;
  collect_rows(info, defaults.object.get(), "", "", rows);
  std::vector<Row> shown;
  std::ranges::copy_if(rows, std::back_inserter(shown),
                       [&](const Row& row) { return is_below(row.key, prefix); });
  if (shown.empty() && !prefix.empty()) unknown_prefix(rows, prefix);

  // A long list of names must not push the help of every other line to the right.
  constexpr std::size_t kMaxColumn = 40;
  const auto width = [&](std::string Row::*column) {
    std::size_t widest = 0;
    for (const Row& row : shown) {
      if ((row.*column).size() <= kMaxColumn) widest = std::max(widest, (row.*column).size());
    }
    return widest;
  };
  const std::size_t key_width = width(&Row::key);
  const std::size_t type_width = width(&Row::type);
  const std::size_t value_width = width(&Row::value);
  const auto padded = [](const std::string& text, std::size_t columns) {
    return text + std::string(text.size() < columns ? columns - text.size() : 0, ' ') + "  ";
  };
  std::string text;
  for (const Row& row : shown) {
    text += padded(row.key, key_width) + padded(row.type, type_width) +
            padded(row.value, value_width) + row.help + '\n';
  }
  return text;
}

}  // namespace ssmax::base::untyped
