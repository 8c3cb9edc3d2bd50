#pragma once

#include <string_view>

#include "base/errors.h"
#include "base/json_value.h"

namespace ssmax::base {

/// Objects and lists within each other; deeper text is refused before it can use up the stack.
constexpr int kMaxJsonDepth = 64;

/// Parses `text` as RFC 8259 asks and nothing more. Refused, besides what is no JSON: duplicate
/// keys, depth beyond kMaxJsonDepth, a byte-order mark, empty text, text that is not UTF-8, text
/// after the value, comments, NaN, Infinity and numbers beyond a double. Every error is one line,
/// `source:line:dotted.key: reason`, of the given kind.
JsonValue parse_json_value(std::string_view text, std::string_view source, ErrorKind kind);

/// `source:line:key: reason`; a line of 0 and an empty key are left out.
std::string located(std::string_view source, int line, std::string_view key,
                    std::string_view reason);

}  // namespace ssmax::base
