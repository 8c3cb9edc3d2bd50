#include "device/arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "base/errors.h"

namespace ssmax::device {
namespace {

TEST(Arena, GivesZeroedAlignedMemory) {
  Arena arena;
  for (const std::int64_t elements : {std::int64_t{1}, std::int64_t{1000}, std::int64_t{1} << 20}) {
    const Tensor tensor = arena.allocate("block", DType::f32, {elements});
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.raw()) % 64, 0U);
    const float* data = tensor.data<float>();
    EXPECT_TRUE(std::all_of(data, data + elements, [](float x) { return x == 0.0F; }));
    std::fill_n(tensor.data<float>(), elements, 1.0F);  // a sanitizer sees memory that is not ours
  }
}

TEST(Arena, ReportsBytesByLabelInOrderOfFirstUse) {
  Arena arena;
  arena.allocate("weights", DType::f32, {10});
  arena.allocate("moments", DType::f64, {10});
  arena.allocate("weights", DType::bf16, {3, 5});
  ASSERT_EQ(arena.report().size(), 2U);
  EXPECT_EQ(arena.report()[0].label, "weights");
  EXPECT_EQ(arena.report()[0].bytes, 40 + 30);
  EXPECT_EQ(arena.report()[1].label, "moments");
  EXPECT_EQ(arena.report()[1].bytes, 80);
  EXPECT_EQ(arena.bytes(), 150);
}

TEST(Arena, PlansMoreThanAnyMachineHas) {
  Arena plan({}, ArenaMode::plan);
  EXPECT_TRUE(plan.planning());
  const Tensor tensor = plan.allocate("everything", DType::f32, {std::int64_t{1} << 50});
  EXPECT_EQ(tensor.raw(), nullptr);
  EXPECT_EQ(tensor.elements(), std::int64_t{1} << 50);
  EXPECT_EQ(plan.bytes(), std::int64_t{1} << 52);
}

TEST(Arena, NamesLabelAndBytesWhenMemoryIsShort) {
  Arena arena;
  try {
    arena.allocate("activations", DType::f32, {std::int64_t{1} << 58});
    FAIL() << "no machine has 2^60 bytes";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::device);
    const std::string message = error.what();
    EXPECT_NE(message.find("activations"), std::string::npos) << message;
    EXPECT_NE(message.find("needs 1.00 EiB, free are "), std::string::npos) << message;
  }
  EXPECT_THROW(arena.allocate("overflow", DType::f64, {std::int64_t{1} << 61}), base::Error);
}

TEST(Arena, MovesKeepMemoryAlive) {
  Arena first;
  const Tensor tensor = first.allocate("block", DType::i32, {4});
  tensor.data<std::int32_t>()[3] = 7;
  Arena second = std::move(first);
  EXPECT_EQ(tensor.data<std::int32_t>()[3], 7);
  EXPECT_EQ(second.bytes(), 16);
  Arena third;
  third.allocate("other", DType::i32, {1});
  third = std::move(second);
  EXPECT_EQ(tensor.data<std::int32_t>()[3], 7);
  EXPECT_EQ(third.report()[0].label, "block");
}

TEST(Arena, EmptyAllocationsAreCountedAndHoldNothing) {
  Arena arena;
  const Tensor tensor = arena.allocate("nothing", DType::f32, {0, 5});
  EXPECT_EQ(tensor.elements(), 0);
  EXPECT_EQ(arena.bytes(), 0);
}

TEST(AvailableBytes, IsPlausible) {
  EXPECT_GT(available_bytes({}), std::int64_t{1} << 20);
  EXPECT_LT(available_bytes({}), std::int64_t{1} << 50);
}

}  // namespace
}  // namespace ssmax::device
