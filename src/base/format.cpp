#include "base/format.h"

#include <cmath>
#include <cstdio>

namespace ssmax::base {
namespace {

template <class... Args>
std::string print(const char* format, Args... args) {
  char text[64];
  std::snprintf(text, sizeof(text), format, args...);
  return text;
}

/// Three significant digits: 1.23, 12.3, 123. A value that would print as 1000 is the caller's to
/// move to the next unit.
std::string three_digits(double value) {
  if (value < 9.995) return print("%.2f", value);
  if (value < 99.95) return print("%.1f", value);
  return print("%.0f", value);
}

}  // namespace

std::string format_seconds(double seconds) { return print("%.1f s", seconds); }

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0.0 || seconds > 1e15) return "?";
  if (seconds < 9.95) return print("%.1f s", seconds);
  const long long whole = std::llround(seconds);
  if (whole < 60) return print("%lld s", whole);
  if (whole < 3600) return print("%lld min %02lld s", whole / 60, whole % 60);
  if (whole < 86400) return print("%lld h %02lld min", whole / 3600, whole % 3600 / 60);
  return print("%lld d %02lld h", whole / 86400, whole % 86400 / 3600);
}

std::string format_count(double count) {
  if (!std::isfinite(count)) return "?";
  if (count < 0.0) return '-' + format_count(-count);
  if (count < 999.5) {
    return count == std::floor(count) ? print("%.0f", count) : three_digits(count);
  }
  const char* unit = "kMGTPE";
  count /= 1000.0;
  while (count >= 999.5 && unit[1] != '\0') {
    count /= 1000.0;
    ++unit;
  }
  return three_digits(count) + *unit;
}

std::string format_bytes(std::int64_t bytes) {
  if (bytes < 0) return '-' + format_bytes(bytes == INT64_MIN ? INT64_MAX : -bytes);
  if (bytes < 1024) return std::to_string(bytes) + " B";
  const char* const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024.0;
  int unit = 0;
  while (value >= 1023.5 && unit < 5) {
    value /= 1024.0;
    ++unit;
  }
  return (value < 999.5 ? three_digits(value) : print("%.0f", value)) + ' ' + units[unit];
}

}  // namespace ssmax::base
