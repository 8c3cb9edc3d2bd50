#pragma once

#include <cstdint>
#include <string>

namespace ssmax::base {

/// "0.4 s", "12 s", "3 min 05 s", "2 h 07 min", "3 d 04 h"; "?" for what is no time.
std::string format_duration(double seconds);
/// "1.5 s", of any length: for limits that are set in seconds.
std::string format_seconds(double seconds);

/// "950", "12.3k", "4.56M", "7.89G": three significant digits, powers of 1000.
std::string format_count(double count);

/// "950 B", "12.3 KiB", "4.56 GiB": three significant digits, powers of 1024.
std::string format_bytes(std::int64_t bytes);

}  // namespace ssmax::base
