#pragma once

#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/errors.h"
#include "base/json_value.h"

namespace ssmax::base {

/// Takes the members of an object one by one, for files that the program itself writes. Every error
/// is Error(kind) and one line, `source:line:prefix.key: reason`.
class JsonMembers {
 public:
  /// `object` and `source` must outlive it; `prefix` ends with the dot.
  JsonMembers(const JsonValue& object, std::string_view source, ErrorKind kind,
              std::string prefix = "");

  /// The member, which must be there and of that type; `expected` says so, such as "an integer".
  const JsonValue& take(std::string_view key, JsonValue::Type type, std::string_view expected);
  std::int64_t integer(std::string_view key,
                       std::int64_t least = std::numeric_limits<std::int64_t>::min());
  const std::string& text(std::string_view key);
  const JsonValue& object(std::string_view key);
  const std::vector<JsonValue>& list(std::string_view key);
  std::vector<double> numbers(std::string_view key);

  /// Refuses members that nobody took: they are no keys of `what`.
  void finish(std::string_view what) const;

  [[noreturn]] void fail(const JsonValue& value, std::string_view key,
                         std::string_view reason) const;

 private:
  const JsonValue& object_;
  std::string_view source_;
  ErrorKind kind_;
  std::string prefix_;
  std::set<std::string, std::less<>> taken_;
};

}  // namespace ssmax::base
