#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/field.h"

/// Config sections: a struct with member defaults and one list of fields, from which come reading,
/// writing, the schema, the help, command-line overrides and the difference of two configs.
///
///   enum class ScheduleKind { constant, cosine };
///   constexpr auto enum_names(ScheduleKind) {
///     return std::to_array<base::EnumName<ScheduleKind>>(
///         {{ScheduleKind::constant, "constant"}, {ScheduleKind::cosine, "cosine"}});
///   }
///
///   struct ScheduleConfig {
///     ScheduleKind kind = ScheduleKind::constant;
///     std::int64_t warmup_steps = 1000;
///
///     static constexpr auto fields() {
///       return std::tuple(
///           base::field("kind", &ScheduleConfig::kind, "Shape of the learning rate"),
///           base::field("warmup_steps", &ScheduleConfig::warmup_steps, "Steps from zero to full",
///                       base::at_least(0)));
///     }
///   };
///
///   const std::vector<base::KindEntry>& normalizer_kinds() {  // on whatever floor knows them
///     static const std::vector<base::KindEntry> kinds = {
///         {"softmax", "exp(z) / sum exp(z)", &base::make_section<SoftmaxOptions>},
///         {"ssmax", "softmax of s log(n) z", &base::make_section<SsmaxOptions>}};
///     return kinds;
///   }
///
///   struct ModelConfig {
///     std::int64_t hidden_size = 768;
///     base::KindSection normalizer{&normalizer_kinds, "softmax"};  // table and default kind
///
///     static constexpr auto fields() {
///       return std::tuple(
///           base::field("hidden_size", &ModelConfig::hidden_size, "C", base::at_least(1)),
///           base::field("normalizer", &ModelConfig::normalizer, "The attention normalizer"));
///     }
///     void validate() const {  // optional: what no single field can check
///       if (hidden_size % 2 != 0) throw base::FieldError("hidden_size", "must be even");
///     }
///   };
///
///   struct RunConfig { ModelConfig model; ScheduleConfig schedule; static constexpr auto
///   fields()...
///
///   const auto run = base::load_config<RunConfig>("b.json", {"--model.normalizer.kind=ssmax"});
///   run.model.normalizer.kind();                               // "ssmax"
///   run.model.normalizer.get<SsmaxOptions>().learn_scale;      // its own struct
///   base::config_text(run);                                    // the resolved config
///   base::config_differences(run, other);                      // {key, left, right}
///   base::schema_text<RunConfig>();  base::explain_text<RunConfig>("model");
///
/// Files and overrides are layers upon the defaults: defaults < "extends" < file < overrides.
/// A layer that changes a "kind" resets that section's options to the kind's defaults.
/// Every error is Error(usage) and one line: `file:line:dotted.key: reason`.
namespace ssmax::base {

/// Where the value of a dotted key came from, to blame the right line.
struct ConfigOrigin {
  std::string source;
  int line = 0;
};

struct ConfigDifference {
  std::string key;    // dotted
  std::string left;   // JSON text; empty where the key exists on the other side only
  std::string right;  // JSON text
};

/// The same as the templates below for a section without its C++ type.
namespace untyped {

/// Collects layers into one object; finish() checks what only the whole can be asked.
class ConfigReader {
 public:
  /// `object` is a section of type `info` and holds the defaults; both must outlive the reader.
  ConfigReader(const SectionInfo& info, void* object) : info_(info), object_(object) {}

  /// A file and, before it, the files it extends.
  void read_file(const std::filesystem::path& path);
  /// JSON text of one object; "$schema" is ignored, "extends" only files may have.
  void read_text(std::string_view text, std::string_view source);
  /// `dotted.key=value`, with or without leading dashes; of equal keys the last counts.
  void read_overrides(std::span<const std::string> overrides);
  /// Limits of every field, then the validate() hooks, innermost first.
  void finish();

 private:
  friend class LayerReader;

  void read_file(const std::filesystem::path& path, std::vector<std::string>& chain);
  void read_value(const JsonValue& object, std::string_view source);
  [[noreturn]] void fail(const std::string& key, std::string_view reason) const;
  void check(const SectionInfo& info, const void* object, const std::string& prefix) const;
  void check_field(const FieldInfo& field, const void* member, const std::string& key) const;

  const SectionInfo& info_;
  void* object_;
  std::string source_ = "config";  // to blame when no line sets the key
  std::map<std::string, ConfigOrigin> origins_;
};

JsonValue write(const SectionInfo& info, const void* object);
/// Of a whole config file.
JsonValue schema(const SectionInfo& info, std::string_view title);
std::string explain(const SectionInfo& info, std::string_view prefix);
std::vector<ConfigDifference> differences(const JsonValue& left, const JsonValue& right);

}  // namespace untyped

/// The config of `path`, with the files it extends and the overrides. Throws Error(usage).
template <Section Root>
Root load_config(const std::filesystem::path& path, std::span<const std::string> overrides = {}) {
  Root root{};
  untyped::ConfigReader reader(section_info<Root>(), &root);
  reader.read_file(path);
  reader.read_overrides(overrides);
  reader.finish();
  return root;
}

template <Section Root>
Root load_config(const std::filesystem::path& path, std::initializer_list<std::string> overrides) {
  return load_config<Root>(path, std::span(overrides.begin(), overrides.size()));
}

/// The config in `text`, as a checkpoint's manifest keeps it; `source` names it in errors.
template <Section Root>
Root parse_config(std::string_view text, std::string_view source,
                  std::span<const std::string> overrides = {}) {
  Root root{};
  untyped::ConfigReader reader(section_info<Root>(), &root);
  reader.read_text(text, source);
  reader.read_overrides(overrides);
  reader.finish();
  return root;
}

template <Section Root>
Root parse_config(std::string_view text, std::string_view source,
                  std::initializer_list<std::string> overrides) {
  return parse_config<Root>(text, source, std::span(overrides.begin(), overrides.size()));
}

/// Changes `root` by overrides and checks all of it again; left as it was when that throws.
template <Section Root>
void override_config(Root& root, std::span<const std::string> overrides) {
  Root changed = root;
  untyped::ConfigReader reader(section_info<Root>(), &changed);
  reader.read_overrides(overrides);
  reader.finish();
  root = std::move(changed);
}

template <Section Root>
JsonValue config_json(const Root& root) {
  return untyped::write(section_info<Root>(), &root);
}

/// The resolved config: every key in the order of fields(), indented, with a newline at the end.
template <Section Root>
std::string config_text(const Root& root) {
  return to_text(config_json(root), 2) + '\n';
}

/// JSON schema, draft 2020-12, with a newline at the end.
template <Section Root>
std::string schema_text(std::string_view title = "ssmax config") {
  return to_text(untyped::schema(section_info<Root>(), title), 2) + '\n';
}

/// Lines `key  type  default  help` of all fields, or of those at and below a dotted prefix.
/// Throws Error(usage) naming the nearest key when there is no such prefix.
template <Section Root>
std::string explain_text(std::string_view prefix = "") {
  return untyped::explain(section_info<Root>(), prefix);
}

/// Every dotted key whose value differs, in the order of fields().
template <Section Root>
std::vector<ConfigDifference> config_differences(const Root& left, const Root& right) {
  return untyped::differences(config_json(left), config_json(right));
}

}  // namespace ssmax::base
