#include "device/range.h"

#include <gtest/gtest.h>

#include "simt/ranges.h"

namespace ssmax {
namespace {

TEST(Range, NamesAndNumbersNestAsScopesDo) {
  simt::take_ranges();
  {
    const device::Range step("step", 3);
    { const device::Range forward("forward"); }
    const device::Range backward("backward");
    const device::Range block("block backward", 0);
    EXPECT_EQ(simt::open_ranges(), 3);
  }
  EXPECT_EQ(simt::open_ranges(), 0);
  EXPECT_EQ(simt::take_ranges(), (std::vector<std::string>{"step 3", "  forward", "  backward",
                                                           "    block backward 0"}));
}

}  // namespace
}  // namespace ssmax
