#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "base/errors.h"

namespace ssmax::base {

/// `value` as a `To`; throws when it does not fit.
template <class To, class From>
constexpr To narrow(From value) {
  const To result = static_cast<To>(value);
  if (static_cast<From>(result) != value || ((result < To{}) != (value < From{}))) {
    throw Error(ErrorKind::usage, "the number " + std::to_string(value) + " does not fit its type");
  }
  return result;
}

/// a * b; throws when the product leaves 64 bits. Both must be non-negative.
constexpr std::int64_t checked_product(std::int64_t a, std::int64_t b) {
  if (a < 0 || b < 0 || (b != 0 && a > std::numeric_limits<std::int64_t>::max() / b)) {
    throw Error(ErrorKind::usage, "the size " + std::to_string(a) + " x " + std::to_string(b) +
                                      " does not fit 64 bits");
  }
  return a * b;
}

/// a / b where b must divide a; `what` names the quotient in the error.
inline std::int64_t div_exact(std::int64_t a, std::int64_t b, const char* what) {
  if (b <= 0 || a % b != 0) {
    throw Error(ErrorKind::usage, std::string(what) + ": " + std::to_string(a) +
                                      " must be a multiple of " + std::to_string(b));
  }
  return a / b;
}

constexpr std::int64_t div_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace ssmax::base
