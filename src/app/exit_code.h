#pragma once

#include "base/errors.h"

namespace ssmax::app {

/// The program's exit code for an error; 0 is done.
constexpr int exit_code(base::ErrorKind kind) {
  switch (kind) {
    case base::ErrorKind::usage:
      return 2;
    case base::ErrorKind::data:
      return 3;
    case base::ErrorKind::checkpoint:
      return 4;
    case base::ErrorKind::device:
      return 5;
    case base::ErrorKind::numerics:
      return 6;
    case base::ErrorKind::hang:
      return 7;
    case base::ErrorKind::disk:
      return 8;
    case base::ErrorKind::stopped:
      return 75;
  }
  return 1;
}

}  // namespace ssmax::app
