#pragma once

#include <gtest/gtest.h>

#include "comm/launch.h"

namespace ssmax::comm {

/// All ranks that this test program was started with; MPI is initialized at the first call.
inline Communicator& world() {
  static const std::unique_ptr<Communicator> communicator = open(detect_launch());
  return *communicator;
}

/// Leaves MPI in order after the last case, whatever failed.
class FinishRanks : public ::testing::Environment {
 public:
  void TearDown() override { world().finish(); }
};
inline ::testing::Environment* const kFinishRanks =
    ::testing::AddGlobalTestEnvironment(new FinishRanks);

}  // namespace ssmax::comm
