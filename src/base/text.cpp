#include "base/text.h"

#include <algorithm>
#include <cstddef>
#include <cstdio>

#include "base/utf8.h"

namespace ssmax::base {

std::string printable(std::string_view text, std::size_t limit) {
  std::string result;
  std::size_t at = 0;
  while (at < text.size() && at < limit) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const Utf8 front = read_utf8(text.substr(at));
    if (front.kind != Utf8Kind::character || byte < 0x20U || byte == 0x7FU) {
      char escaped[8];
      std::snprintf(escaped, sizeof(escaped), "\\x%02x", byte);
      result += escaped;
      ++at;
    } else {
      const auto length = static_cast<std::size_t>(front.length);
      result += text.substr(at, length);
      at += length;
    }
  }
  if (at < text.size()) result += "...";
  return result;
}

std::string in_quotes(std::string_view text, std::size_t limit) {
  return '"' + printable(text, limit) + '"';
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  // Keys are short; a hostile one must not cost more than a few thousand steps.
  a = a.substr(0, 64);
  b = b.substr(0, 64);
  const std::size_t columns = b.size() + 1;
  std::vector<std::size_t> rows(3 * columns);
  std::size_t* before = rows.data();
  std::size_t* previous = before + columns;
  std::size_t* current = previous + columns;
  for (std::size_t j = 0; j < columns; ++j) previous[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (std::size_t j = 1; j < columns; ++j) {
      const std::size_t replace = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      current[j] = std::min({replace, previous[j] + 1, current[j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        current[j] = std::min(current[j], before[j - 2] + 1);
      }
    }
    std::swap(before, previous);
    std::swap(previous, current);
  }
  return previous[b.size()];
}

std::string_view nearest(std::string_view name, std::span<const std::string_view> candidates) {
  std::string_view best;
  std::size_t best_distance = std::string_view::npos;
  for (const std::string_view candidate : candidates) {
    const std::size_t distance = edit_distance(name, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string join(std::span<const std::string_view> parts, std::string_view separator) {
  std::string result;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) result += separator;
    result += parts[i];
  }
  return result;
}

std::string dotted(std::string_view prefix, std::string_view key) {
  std::string result(prefix);
  if (!result.empty()) result += '.';
  return result.append(key);
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  if (text.empty()) return parts;
  std::size_t begin = 0;
  while (true) {
    const std::size_t end = text.find(separator, begin);
    parts.emplace_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

}  // namespace ssmax::base
