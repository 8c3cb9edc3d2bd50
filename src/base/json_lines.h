#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "base/errors.h"
#include "base/json_value.h"

namespace ssmax::base {

/// One line of a JSON Lines file; errors name `source` and `line`.
JsonValue parse_json_line(std::string_view text, std::string_view source, std::int64_t line,
                          ErrorKind kind);

/// Calls visit(value, line) for every line of the file that is not blank.
void visit_json_lines(const std::filesystem::path& path, ErrorKind kind,
                      const std::function<void(const JsonValue& value, std::int64_t line)>& visit);

/// The string of that key; an error says what stands there instead.
const std::string& string_member(const JsonValue& value, std::string_view key,
                                 std::string_view source, std::int64_t line, ErrorKind kind);

}  // namespace ssmax::base
