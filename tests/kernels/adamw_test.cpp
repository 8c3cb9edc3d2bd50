#include "kernels/adamw/adamw.h"

#include "base/errors.h"
#include "support/op_case.h"

namespace ssmax::kernels {
namespace {

using namespace ssmax::testing;

constexpr AdamwConstants kConstants{.learning_rate = 1e-2, .beta1 = 0.9, .beta2 = 0.95};

AdamwSegment segment_at_step(std::int64_t begin, std::int64_t end, double decay, int step) {
  return {begin, end, decay, 1.0 - std::pow(kConstants.beta1, step),
          1.0 - std::pow(kConstants.beta2, step)};
}

std::vector<double> squares(std::int64_t count, std::uint64_t stream) {
  std::vector<double> values = normal_values(count, 1, stream);
  for (double& value : values) value *= value;
  return values;
}

// Elements below 13 and in [20, 23) belong to no segment.
std::vector<AdamwSegment> segments(std::int64_t count) {
  return {segment_at_step(13, 20, 0.1, 3), segment_at_step(23, count, 0.0, 1)};
}

// The moments take four roundings; the step, at most 1e-2 times ten, a dozen; the weight three.
constexpr double kRoundings = 6.0;

TEST(Adamw, AgreesWithDouble) {
  for (const std::int64_t count : {40, 70003}) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      check_op({"adamw",
                {{"weights", {count}, Role::updated, Type::activation, {}, kRoundings},
                 {"first moment", {count}, Role::updated, Type::activation, {}, kRoundings},
                 {"second moment",
                  {count},
                  Role::updated,
                  Type::activation,
                  squares(count, 20),
                  kRoundings},
                 {"gradients", {count}},
                 {"gradient scale", {1}, Role::input, Type::activation, {0.3}}},
                [count](Stream& stream, std::span<const Tensor> t) {
                  adamw(stream, {t[0], t[1], t[2], {}, t[3]}, t[4], segments(count), kConstants);
                }},
               dtype);
    }
  }
}

TEST(Adamw, RefreshesTheComputeCopyInsideSegments) {
  if (skips_without_gpu()) return;
  constexpr std::int64_t kCount = 1000;
  const GuardedTensor weights(DType::f32, {kCount}, test_device());
  const GuardedTensor first(DType::f32, {kCount}, test_device());
  const GuardedTensor second(DType::f32, {kCount}, test_device());
  const GuardedTensor gradients(DType::f32, {kCount}, test_device());
  const GuardedTensor compute(DType::bf16, {kCount}, test_device());
  const GuardedTensor scale(DType::f32, {1}, test_device());
  weights.set(normal_values(kCount, 1, 0));
  first.set(normal_values(kCount, 1, 1));
  second.set(squares(kCount, 2));
  gradients.set(normal_values(kCount, 1, 3));
  compute.set(std::vector<double>(kCount, 5.0));
  scale.set({1.0});
  Stream stream(test_device());
  adamw(stream,
        {weights.tensor(), first.tensor(), second.tensor(), compute.tensor(), gradients.tensor()},
        scale.tensor(), segments(kCount), kConstants);
  stream.synchronize();
  const std::vector<double> found = compute.get();
  const std::vector<double> updated = weights.get();
  for (std::size_t i = 0; i < kCount; ++i) {
    const bool inside = (i >= 13 && i < 20) || i >= 23;
    ASSERT_EQ(found[i], static_cast<double>(device::Bf16(inside ? updated[i] : 5.0))) << i;
  }
  EXPECT_TRUE(compute.guards_intact() && weights.guards_intact());
}

TEST(Adamw, WritesNothingWhenTheScaleIsNotFinite) {
  if (skips_without_gpu()) return;
  for (const DType dtype : {DType::f32, DType::f64}) {
    if (!on_cpu() && dtype == DType::f64) continue;
    for (const double bad :
         {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
      std::vector<GuardedTensor> arrays;
      std::vector<std::string> before;
      for (std::uint64_t i = 0; i < 4; ++i) {
        arrays.emplace_back(dtype, Shape{100}, test_device());
        arrays.back().set(squares(100, i));
        before.push_back(arrays.back().bits());
      }
      const GuardedTensor scale(dtype, {1}, test_device());
      scale.set({bad});
      Stream stream(test_device());
      adamw(stream,
            {arrays[0].tensor(), arrays[1].tensor(), arrays[2].tensor(), {}, arrays[3].tensor()},
            scale.tensor(), segments(100), kConstants);
      stream.synchronize();
      for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(arrays[i].bits() == before[i]) << i;
    }
  }
}

// At step 1 from zero moments the step is the learning rate times the sign of the gradient.
TEST(Adamw, TheFirstStepIsTheSignOfTheGradient) {
  const GuardedTensor weights = f64_tensor({3}, {1.0, 1.0, 1.0});
  const GuardedTensor first = f64_tensor({3}, {0.0, 0.0, 0.0});
  const GuardedTensor second = f64_tensor({3}, {0.0, 0.0, 0.0});
  const GuardedTensor scale = f64_tensor({1}, {1.0});
  const std::vector<AdamwSegment> all = {segment_at_step(0, 3, 0.5, 1)};
  AdamwConstants constants = kConstants;
  constants.eps = 0.0;
  const GuardedTensor gradients = f64_tensor({3}, {3.0, -0.02, 1e-3});
  Stream stream;
  adamw(stream, {weights.tensor(), first.tensor(), second.tensor(), {}, gradients.tensor()},
        scale.tensor(), all, constants);
  // Decay takes learning rate * 0.5 of the weight.
  EXPECT_NEAR(weights.get()[0], 1.0 - 0.01 - 0.005, 1e-15);
  EXPECT_NEAR(weights.get()[1], 1.0 + 0.01 - 0.005, 1e-15);
  EXPECT_NEAR(weights.get()[2], 1.0 - 0.01 - 0.005, 1e-15);
}

TEST(Adamw, RefusesSegmentsOutsideTheArrays) {
  const GuardedTensor array(DType::f32, {10});
  const GuardedTensor scale(DType::f32, {1});
  scale.set({1.0});
  Stream stream;
  const auto call = [&](const AdamwSegment& segment) {
    const std::vector<AdamwSegment> list = {segment};
    adamw(stream, {array.tensor(), array.tensor(), array.tensor(), {}, array.tensor()},
          scale.tensor(), list, kConstants);
  };
  EXPECT_THROW(call(segment_at_step(0, 11, 0.0, 1)), base::Error);
  EXPECT_THROW(call(segment_at_step(-1, 3, 0.0, 1)), base::Error);
  EXPECT_THROW(call(segment_at_step(0, 10, 0.0, 0)), base::Error);
}

}  // namespace
}  // namespace ssmax::kernels
