#include "device/stream.h"

#include <gtest/gtest.h>

#include "device/arena.h"
#include "device/event.h"
#include "device/gpus.h"
#include "device/queue.h"
#include "simt/deferral.h"

namespace ssmax::device {
namespace {

int priority_of(Stream& stream) {
  int priority = 1;
  EXPECT_EQ(cudaStreamGetPriority(cuda::native(stream), &priority), cudaSuccess);
  return priority;
}

// The smaller the number the higher the priority.
TEST(SimtStream, HighPriorityGoesFirst) {
  Stream usual(gpu_device());
  Stream high(gpu_device(), Priority::high);
  EXPECT_EQ(priority_of(usual), 0);
  EXPECT_LT(priority_of(high), priority_of(usual));
}

// Libraries that ask for the last error would take it for their own.
TEST(SimtStream, APointThatIsNotReachedLeavesNoErrorBehind) {
  simt::set_deferred(true);
  Arena arena(gpu_device());
  Stream stream(gpu_device());
  Event event(gpu_device());
  fill_zero(stream, arena.allocate("zeros", DType::f32, {16}));
  event.record(stream);
  EXPECT_FALSE(event.reached());
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  simt::set_deferred(false);
}

}  // namespace
}  // namespace ssmax::device
