#include "device/event.h"

#include <gtest/gtest.h>

#include "support/device_numbers.h"

namespace ssmax::device {
namespace {

using testing::DeviceNumbers;
using testing::test_device;

TEST(Event, IsReachedUntilRecordedAndAfterTheWait) {
  if (testing::skips_without_gpu()) return;
  Event event(test_device());
  EXPECT_TRUE(event.reached());
  event.wait();
  DeviceNumbers<float> numbers({1.0F, 2.0F, 3.0F});
  fill_zero(numbers.stream(), numbers.tensor());
  event.record(numbers.stream());
  event.wait();
  EXPECT_TRUE(event.reached());
}

/// Another stream sees what was queued before the event, once it has been waited for. The emulated
/// device leaves the work undone until then.
TEST(Event, OrdersTwoStreams) {
  if (testing::skips_without_gpu()) return;
  DeviceNumbers<float> numbers(std::vector<float>(1000, 5.0F));
  numbers.stream().synchronize();
  Event event(test_device());
  fill_zero(numbers.stream(), numbers.tensor());
  event.record(numbers.stream());
  Stream other(test_device());
  std::vector<float> seen(1000);
  if (testing::is_emulated()) {
    copy(other, view(seen.data(), {1000}), numbers.tensor());
    EXPECT_EQ(seen, std::vector<float>(1000, 5.0F));
    EXPECT_FALSE(event.reached());
  }
  event.wait();
  copy(other, view(seen.data(), {1000}), numbers.tensor());
  EXPECT_EQ(seen, std::vector<float>(1000, 0.0F));
}

}  // namespace
}  // namespace ssmax::device
