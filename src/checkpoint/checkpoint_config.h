#pragma once

#include <cstdint>
#include <tuple>

#include "base/config.h"

namespace ssmax::checkpoint {

/// The section "checkpoint" of a config.
struct CheckpointConfig {
  std::int64_t every_steps = 1000;
  std::int64_t keep = 3;

  static constexpr auto fields() {
    return std::tuple(
        base::field("every_steps", &CheckpointConfig::every_steps,
                    "Steps between checkpoints; the last step always saves one", base::at_least(1)),
        base::field("keep", &CheckpointConfig::keep,
                    "Newest checkpoints that stay on disk; older ones are removed",
                    base::at_least(2)));
  }
};

}  // namespace ssmax::checkpoint
