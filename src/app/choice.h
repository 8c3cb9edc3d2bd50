#pragma once

#include <CLI/CLI.hpp>
#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "base/field.h"

/// Options of the command line that take one of a few names. What they are and what each stands for
/// is one array of base::EnumName, which must live as long as the program.
namespace ssmax::app {

/// Those of an enum that has names of its own.
template <base::NamedEnum E>
inline constexpr auto kNamesOf = enum_names(E{});

/// As text to put together.
template <class E, std::size_t N>
std::string choice_name(const std::array<base::EnumName<E>, N>& choices, E value) {
  return std::string(base::name_among(choices, value));
}

template <class E, std::size_t N>
CLI::IsMember one_of(const std::array<base::EnumName<E>, N>& choices) {
  std::vector<std::string> names;
  for (const auto& choice : choices) names.emplace_back(choice.name);
  return CLI::IsMember(names);
}

/// An option that sets `value`, whose present name is its default.
template <class E, std::size_t N>
CLI::Option* add_choice(CLI::App& command, const std::string& option, E& value,
                        const std::array<base::EnumName<E>, N>& choices, const std::string& help) {
  return command
      .add_option_function<std::string>(
          option,
          [&](const std::string& name) { value = base::value_among(choices, name).value(); }, help)
      ->check(one_of(choices))
      ->default_str(choice_name(choices, value));
}

/// The same for several; the default is one.
template <class E, std::size_t N>
CLI::Option* add_choices(CLI::App& command, const std::string& option, std::vector<E>& values,
                         const std::array<base::EnumName<E>, N>& choices, const std::string& help) {
  return command
      .add_option_function<std::vector<std::string>>(
          option,
          [&](const std::vector<std::string>& names) {
            values.clear();
            for (const std::string& name : names) {
              values.push_back(base::value_among(choices, name).value());
            }
          },
          help)
      ->check(one_of(choices))
      ->default_str("[" + choice_name(choices, values.front()) + "]");
}

}  // namespace ssmax::app
