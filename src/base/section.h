#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/errors.h"
#include "base/json_value.h"

namespace ssmax::base {

/// Limits of a number, of the length of a string or list.
struct Constraints {
  std::optional<double> at_least;
  std::optional<double> at_most;
  std::optional<double> above;
  std::optional<double> below;
  bool non_empty = false;
};

/// A bound as one would write it: 1 and not 1.0.
std::string bound_text(double bound);

/// What `validate()` of a section throws: the key (below that section) and what is wrong with it.
class FieldError : public Error {
 public:
  FieldError(std::string key, std::string reason)
      : Error(ErrorKind::usage, key + ": " + reason),
        key_(std::move(key)),
        reason_(std::move(reason)) {}

  const std::string& key() const { return key_; }
  const std::string& reason() const { return reason_; }

 private:
  std::string key_;
  std::string reason_;
};

enum class FieldType {
  boolean,
  integer,
  number,
  string,
  enumeration,
  string_list,
  section,
  kind_section,
};

struct SectionInfo;
struct KindEntry;
using KindTable = const std::vector<KindEntry>& (*)();

/// One field of a section, without its C++ type; made by base/config.h from `fields()`.
struct FieldInfo {
  struct EnumValue {
    std::int64_t value;
    std::string_view name;
  };

  std::string_view key;
  std::string_view help;
  FieldType type = FieldType::boolean;
  Constraints constraints;
  std::size_t offset = 0;  // bytes from the section to the member
  std::vector<EnumValue> names;
  std::int64_t (*read_enum)(const void* member) = nullptr;
  void (*write_enum)(void* member, std::int64_t value) = nullptr;
  const SectionInfo& (*section)() = nullptr;

  void* in(void* section_object) const { return static_cast<char*>(section_object) + offset; }
  const void* in(const void* section_object) const {
    return static_cast<const char*>(section_object) + offset;
  }
};

/// A section's type: its fields and how to make, copy, destroy and validate one.
struct SectionInfo {
  std::vector<FieldInfo> fields;
  void* (*create)() = nullptr;
  void* (*copy)(const void*) = nullptr;
  void (*destroy)(void*) = nullptr;
  void (*validate)(const void*) = nullptr;  // nullptr without a hook

  const FieldInfo* find(std::string_view key) const;
};

template <class T>
const SectionInfo& section_info();

/// Owns one struct with `fields()` whose type only the one who asks for it knows.
class AnySection {
 public:
  AnySection() = default;
  /// Takes over `object`, made by info.create or info.copy.
  AnySection(const SectionInfo& info, void* object) : info_(&info), object_(object) {}
  AnySection(const AnySection& other);
  AnySection(AnySection&& other) noexcept;
  AnySection& operator=(AnySection other) noexcept;
  ~AnySection();

  template <class T>
  static AnySection of(const T& value) {
    const SectionInfo& info = section_info<T>();
    return {info, info.copy(&value)};
  }

  /// The struct itself; asking for another type is a mistake of ours: std::logic_error.
  template <class T>
  const T& get() const {
    return *static_cast<const T*>(checked(section_info<T>()));
  }
  template <class T>
  T& get() {
    return *static_cast<T*>(const_cast<void*>(checked(section_info<T>())));
  }
  const SectionInfo& info() const { return *info_; }
  void* object() { return object_; }
  const void* object() const { return object_; }

  /// The fields as a JSON object.
  JsonValue write() const;
  /// One line per field: key, type, default, help.
  std::string explain() const;

  bool operator==(const AnySection& other) const;

 private:
  const void* checked(const SectionInfo& wanted) const;

  const SectionInfo* info_ = nullptr;
  void* object_ = nullptr;
};

/// One alternative of a KindSection. `make` gives the options with their defaults.
struct KindEntry {
  std::string name;
  std::string help;
  AnySection (*make)() = nullptr;
};

/// For KindEntry::make.
template <class T>
AnySection make_section() {
  return AnySection::of(T{});
}

/// A section whose "kind" chooses its options, in JSON {"kind": "ssmax", "learn_scale": true}.
/// The alternatives come from a table, so the holder need not know them.
class KindSection {
 public:
  /// Throws Error(usage) naming the nearest kind when the table has no such kind.
  KindSection(KindTable kinds, std::string_view kind);

  const std::string& kind() const { return kind_; }
  KindTable table() const { return table_; }
  /// Changes the kind and resets the options to its defaults; nothing happens when it is the kind.
  void select(std::string_view kind);
  AnySection& options() { return options_; }
  const AnySection& options() const { return options_; }
  template <class T>
  const T& get() const {
    return options_.get<T>();
  }
  template <class T>
  T& get() {
    return options_.get<T>();
  }

  bool operator==(const KindSection& other) const {
    return kind_ == other.kind_ && options_ == other.options_;
  }

 private:
  const KindEntry& entry(std::string_view kind) const;

  KindTable table_;
  std::string kind_;
  AnySection options_;
};

}  // namespace ssmax::base
