#pragma once

#include <array>
#include <string>
#include <string_view>

#include "base/errors.h"

namespace ssmax::app {

/// What the program exits with for an error.
struct ExitCode {
  base::ErrorKind kind;
  int code;
  std::string_view meaning;
};

inline constexpr auto kExitCodes =
    std::to_array<ExitCode>({{base::ErrorKind::usage, 2, "usage or config"},
                             {base::ErrorKind::data, 3, "data"},
                             {base::ErrorKind::checkpoint, 4, "checkpoint"},
                             {base::ErrorKind::device, 5, "device or NCCL"},
                             {base::ErrorKind::numerics, 6, "numerics"},
                             {base::ErrorKind::hang, 7, "hang or lost rank"},
                             {base::ErrorKind::disk, 8, "disk"},
                             {base::ErrorKind::stopped, 75, "stopped on request and resumable"}});

constexpr int exit_code(base::ErrorKind kind) {
  for (const ExitCode& entry : kExitCodes) {
    if (entry.kind == kind) return entry.code;
  }
  return 1;  // a mistake of ours
}

/// "0 done, 2 usage or config, ...".
inline std::string exit_codes_text() {
  std::string text = "0 done";
  for (const ExitCode& entry : kExitCodes) {
    text.append(", ").append(std::to_string(entry.code)).append(" ").append(entry.meaning);
  }
  return text;
}

}  // namespace ssmax::app
