#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/section.h"

namespace ssmax::base {

/// One name of an enumerator; `enum_names(E)` beside the enum returns a std::array of them.
template <class E>
struct EnumName {
  E value;
  std::string_view name;
};

template <class E>
concept NamedEnum = std::is_enum_v<E> && requires(E e) {
  enum_names(e)[0].name;
};

/// The name of `value` among `names`; throws std::logic_error when they lack it.
template <class E, std::size_t N>
constexpr std::string_view name_among(const std::array<EnumName<E>, N>& names, E value) {
  for (const auto& entry : names) {
    if (entry.value == value) return entry.name;
  }
  throw std::logic_error("an enumerator without a name");
}

template <class E, std::size_t N>
constexpr std::optional<E> value_among(const std::array<EnumName<E>, N>& names,
                                       std::string_view name) {
  for (const auto& entry : names) {
    if (entry.name == name) return entry.value;
  }
  return std::nullopt;
}

template <NamedEnum E>
constexpr std::string_view enum_name(E value) {
  return name_among(enum_names(E{}), value);
}

template <NamedEnum E>
constexpr std::optional<E> enum_from_name(std::string_view name) {
  return value_among(enum_names(E{}), name);
}

template <class Apply>
struct Constraint {
  Apply apply;
};
template <class Apply>
Constraint(Apply) -> Constraint<Apply>;

constexpr auto at_least(double bound) {
  return Constraint{[bound](Constraints& c) { c.at_least = bound; }};
}
constexpr auto at_most(double bound) {
  return Constraint{[bound](Constraints& c) { c.at_most = bound; }};
}
constexpr auto above(double bound) {
  return Constraint{[bound](Constraints& c) { c.above = bound; }};
}
constexpr auto below(double bound) {
  return Constraint{[bound](Constraints& c) { c.below = bound; }};
}
/// A string or list that must have something in it; a default that is empty asks for the key.
constexpr auto non_empty() {
  return Constraint{[](Constraints& c) { c.non_empty = true; }};
}

template <class T, class M>
struct Field {
  std::string_view key;
  M T::*member;
  std::string_view help;
  Constraints constraints;
};

/// One line of a section's `fields()`.
template <class T, class M, class... C>
constexpr Field<T, M> field(std::string_view key, M T::*member, std::string_view help,
                            Constraint<C>... constraints) {
  Constraints all;
  (constraints.apply(all), ...);
  return {key, member, help, all};
}

template <class T>
concept Section = requires {
  T::fields();
};

namespace detail {

/// Stands for any member of T in a brace initialization that is only asked about, never run.
/// It does not become a T itself, which braces would copy.
template <class T>
struct AnyMember {
  template <class M>
  requires(!std::same_as<M, T>) operator M() const;  // NOLINT(google-explicit-constructor)
};

template <class T, std::size_t... I>
constexpr bool braces_take(std::index_sequence<I...>) {
  return requires { T{(static_cast<void>(I), AnyMember<T>{})...}; };
}

}  // namespace detail

/// Whether the aggregate T has exactly `count` members: braces take as many values, not one more.
template <class T, std::size_t count>
constexpr bool has_member_count = detail::braces_take<T>(std::make_index_sequence<count>{}) &&
                                  !detail::braces_take<T>(std::make_index_sequence<count + 1>{});

/// Whether T::fields() has as many entries as T has members.
template <Section T>
constexpr bool lists_every_member = has_member_count<T, std::tuple_size_v<decltype(T::fields())>>;

namespace detail {

template <class M>
constexpr FieldType field_type() {
  if constexpr (std::same_as<M, bool>) {
    return FieldType::boolean;
  } else if constexpr (std::same_as<M, std::int64_t>) {
    return FieldType::integer;
  } else if constexpr (std::same_as<M, double>) {
    return FieldType::number;
  } else if constexpr (std::same_as<M, std::string>) {
    return FieldType::string;
  } else if constexpr (NamedEnum<M>) {
    return FieldType::enumeration;
  } else if constexpr (std::same_as<M, std::vector<std::string>>) {
    return FieldType::string_list;
  } else if constexpr (std::same_as<M, KindSection>) {
    return FieldType::kind_section;
  } else {
    static_assert(Section<M>,
                  "a config member is a bool, int64_t, double, string, list of strings, an enum "
                  "with enum_names(), a KindSection or a struct with fields()");
    return FieldType::section;
  }
}

template <class T, class M>
FieldInfo field_info(const Field<T, M>& field, const T& sample) {
  FieldInfo info;
  info.key = field.key;
  info.help = field.help;
  info.type = field_type<M>();
  info.constraints = field.constraints;
  info.offset = static_cast<std::size_t>(reinterpret_cast<const char*>(&(sample.*field.member)) -
                                         reinterpret_cast<const char*>(&sample));
  if constexpr (NamedEnum<M>) {
    for (const auto& entry : enum_names(M{})) {
      info.names.push_back({static_cast<std::int64_t>(entry.value), entry.name});
    }
    info.read_enum = [](const void* member) {
      return static_cast<std::int64_t>(*static_cast<const M*>(member));
    };
    info.write_enum = [](void* member, std::int64_t value) {
      *static_cast<M*>(member) = static_cast<M>(value);
    };
  } else if constexpr (Section<M>) {
    info.section = &section_info<M>;
  }
  return info;
}

/// Our own mistakes in a list of fields: a key or member twice, a bound on a string.
/// Throws std::logic_error.
const SectionInfo& checked_section(const SectionInfo& info);

template <class T>
SectionInfo make_section_info() {
  static_assert(std::is_aggregate_v<T>, "a config section is a plain struct");
  static_assert(lists_every_member<T>, "fields() must list every member of the section");
  SectionInfo info;
  const T sample{};
  std::apply([&](const auto&... field) { (info.fields.push_back(field_info(field, sample)), ...); },
             T::fields());
  info.create = []() -> void* { return new T{}; };
  info.copy = [](const void* object) -> void* { return new T(*static_cast<const T*>(object)); };
  info.destroy = [](void* object) { delete static_cast<T*>(object); };
  if constexpr (requires(const T& section) { section.validate(); }) {
    info.validate = [](const void* object) { static_cast<const T*>(object)->validate(); };
  }
  checked_section(info);
  return info;
}

}  // namespace detail

/// The description of section T, made once from T::fields().
template <class T>
const SectionInfo& section_info() {
  static const SectionInfo info = detail::make_section_info<T>();
  return info;
}

}  // namespace ssmax::base
