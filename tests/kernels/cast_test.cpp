#include "kernels/cast/cast.h"

#include "base/errors.h"
#include "support/op_case.h"

namespace ssmax::kernels {
namespace {

using namespace ssmax::testing;

TEST(Cast, IsExactWhereTheTargetIsWider) {
  for (const DType from : kActivationTypes) {
    for (const std::int64_t count : {1, 17, 70001}) {
      const GuardedTensor x(from, {count});
      x.set(normal_values(count, 1, 0));
      const GuardedTensor wide(DType::f64, {count});
      const GuardedTensor back(from, {count});
      Stream stream;
      cast(stream, wide.tensor(), x.tensor());
      cast(stream, back.tensor(), wide.tensor());
      EXPECT_EQ(wide.get(), x.get());
      EXPECT_TRUE(back.bits() == x.bits());
      EXPECT_TRUE(wide.guards_intact() && back.guards_intact());
    }
  }
}

TEST(Cast, WidensAndNarrowsOnTheDevice) {
  if (skips_without_gpu()) return;
  for (const DType from : {DType::f32, DType::bf16}) {
    for (const std::int64_t count : {1, 17, 5004}) {
      const GuardedTensor x(from, {count}, test_device());
      x.set(normal_values(count, 1, 0));
      const GuardedTensor wide(DType::f64, {count}, test_device());
      const GuardedTensor f32(DType::f32, {count}, test_device());
      const GuardedTensor back(from, {count}, test_device());
      Stream stream(test_device());
      cast(stream, wide.tensor(), x.tensor());
      cast(stream, f32.tensor(), x.tensor());
      cast(stream, back.tensor(), f32.tensor());
      stream.synchronize();
      EXPECT_EQ(wide.get(), x.get());
      EXPECT_EQ(f32.get(), x.get());
      EXPECT_TRUE(back.bits() == x.bits());
      EXPECT_TRUE(wide.guards_intact() && f32.guards_intact() && back.guards_intact());
    }
  }
}

TEST(Cast, RoundsF32ToBf16AsTheElementTypeDoes) {
  // Every exponent and sign, with mantissas around the ties.
  std::vector<float> values;
  for (std::uint32_t high = 0; high < 0x10000U; ++high) {
    for (const std::uint32_t low : {0x0000U, 0x7fffU, 0x8000U, 0x8001U}) {
      values.push_back(std::bit_cast<float>(high << 16 | low));
    }
  }
  const auto count = static_cast<std::int64_t>(values.size());
  const GuardedTensor out(DType::bf16, {count});
  Stream stream;
  cast(stream, out.tensor(), device::view(static_cast<const float*>(values.data()), {count}));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const device::Bf16 found = out.tensor().data<device::Bf16>()[i];
    const auto bits = std::bit_cast<std::uint32_t>(values[i]);
    if (std::isnan(values[i])) {
      ASSERT_TRUE(std::isnan(static_cast<float>(found))) << bits;
      continue;
    }
    // The nearer of the two neighbors, the even one at a tie.
    std::uint32_t expected = bits >> 16;
    const std::uint32_t rest = bits & 0xffffU;
    if (rest > 0x8000U || (rest == 0x8000U && (expected & 1U) != 0)) ++expected;
    ASSERT_EQ(found.bits, expected) << bits;
  }
}

TEST(Add, AgreesWithDoubleAndMayWriteOverAnInput) {
  for (const std::int64_t count : {1, 17, 70001}) {
    // One rounding to f32, one to the output.
    check_op({"add",
              {{"out", {count}, Role::output, Type::activation, {}, 1.0},
               {"a", {count}},
               {"b", {count}}},
              [](Stream& stream, std::span<const Tensor> t) { add(stream, t[0], t[1], t[2]); }});
    check_op({"add over a",
              {{"a", {count}, Role::updated, Type::activation, {}, 1.0}, {"b", {count}}},
              [](Stream& stream, std::span<const Tensor> t) { add(stream, t[0], t[0], t[1]); }});
    check_op({"add over b",
              {{"a", {count}}, {"b", {count}, Role::updated, Type::activation, {}, 1.0}},
              [](Stream& stream, std::span<const Tensor> t) { add(stream, t[1], t[0], t[1]); }});
  }
}

TEST(Cast, RefusesOtherCountsAndIntegers) {
  const GuardedTensor four(DType::f32, {4});
  const GuardedTensor five(DType::f32, {5});
  const GuardedTensor tokens(DType::i32, {4});
  const GuardedTensor half(DType::bf16, {4});
  Stream stream;
  EXPECT_THROW(cast(stream, four.tensor(), five.tensor()), base::Error);
  EXPECT_THROW(cast(stream, four.tensor(), tokens.tensor()), base::Error);
  EXPECT_THROW(add(stream, four.tensor(), four.tensor(), half.tensor()), base::Error);
}

}  // namespace
}  // namespace ssmax::kernels
