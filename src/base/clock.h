#pragma once

#include <chrono>
#include <ctime>
#include <string>

namespace ssmax::base {

/// Seconds of a clock that never goes back; only differences mean anything.
inline double monotonic_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Measures from its construction or the last restart.
class Stopwatch {
 public:
  double seconds() const { return monotonic_seconds() - start_; }
  /// The seconds until now; counts from zero again.
  double restart() {
    const double now = monotonic_seconds();
    const double elapsed = now - start_;
    start_ = now;
    return elapsed;
  }

 private:
  double start_ = monotonic_seconds();
};

/// Seconds since 1970, for the time stamps of logs.
inline double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// "2026-01-31T23:59:59Z".
inline std::string utc_time(double unix_time = unix_seconds()) {
  const auto seconds = static_cast<std::time_t>(unix_time);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

}  // namespace ssmax::base
