#pragma once

#include <gtest/gtest.h>

#include "comm/launch.h"
#include "comm/seats.h"
#include "support/test_device.h"

namespace ssmax::comm {

/// All ranks that this test program was started with; MPI is initialized at the first call.
inline Communicator& world() {
  static const std::unique_ptr<Communicator> communicator = open(detect_launch());
  return *communicator;
}

/// Gives every rank a GPU of its own where there are enough, and leaves MPI in order after the last
/// case, whatever failed.
class FinishRanks : public ::testing::Environment {
 public:
  void SetUp() override { testing::test_gpu = static_cast<std::size_t>(local_rank(world()).index); }
  void TearDown() override { world().finish(); }
};
inline ::testing::Environment* const kFinishRanks =
    ::testing::AddGlobalTestEnvironment(new FinishRanks);

}  // namespace ssmax::comm
