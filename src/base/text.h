#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ssmax::base {

/// `text` on one line for a message: control and ill-formed bytes as \xNN, cut after `limit` bytes.
std::string printable(std::string_view text, std::size_t limit = 80);

/// printable() between double quotes.
std::string in_quotes(std::string_view text, std::size_t limit = 80);

/// Least number of insertions, deletions, replacements and swaps of neighbors from a to b.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate nearest to `name`; empty without candidates. The first of equals wins.
std::string_view nearest(std::string_view name, std::span<const std::string_view> candidates);

/// "a, b, c".
std::string join(std::span<const std::string_view> parts, std::string_view separator);

/// "prefix.key"; the key alone without a prefix.
std::string dotted(std::string_view prefix, std::string_view key);

/// The parts between separators; an empty text has no parts.
std::vector<std::string> split(std::string_view text, char separator);

}  // namespace ssmax::base
