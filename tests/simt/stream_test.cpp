#include "device/stream.h"

#include <gtest/gtest.h>

#include "device/gpus.h"
#include "device/queue.h"

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

}  // namespace
}  // namespace ssmax::device
