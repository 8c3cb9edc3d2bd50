#pragma once

#include <gtest/gtest.h>

#include "comm/launch.h"
#include "device/launch.h"
#include "simt/include/simt/deferral.h"

namespace ssmax::comm {

/// All ranks that this test program was started with; MPI is initialized at the first call.
inline Communicator& world() {
  static const std::unique_ptr<Communicator> communicator = open(detect_launch());
  return *communicator;
}

/// Leaves MPI in order after the last case, whatever failed. On an emulated device work waits in
/// its stream until somebody waits for it, so that a missing wait gives wrong sums.
class FinishRanks : public ::testing::Environment {
 public:
  void SetUp() override {
    if (device::is_linked<simt::set_deferred>()) simt::set_deferred(true);
  }
  void TearDown() override { world().finish(); }
};
inline ::testing::Environment* const kFinishRanks =
    ::testing::AddGlobalTestEnvironment(new FinishRanks);

}  // namespace ssmax::comm
