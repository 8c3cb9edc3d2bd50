#include "kernels/cross_entropy/cross_entropy.h"

#include "base/errors.h"
#include "support/op_case.h"

namespace ssmax::kernels {
namespace {

using namespace ssmax::testing;

struct Size {
  std::int64_t M;
  std::int64_t V;
  std::int64_t S;
};
// Around the block of 2048 logits, the vocabulary of GPT-2, the largest supported; rows that end
// with the vocabulary and rows that do not.
constexpr Size kSizes[] = {{1, 1, 1},         {5, 17, 17},       {5, 17, 24},
                           {3, 2048, 2048},   {40, 2049, 2049},  {7, 2049, 2112},
                           {2, 50257, 50257}, {2, 50257, 50304}, {1, 200000, 200000}};

// The bound of cross_entropy_cpu.cpp: 8.1e-6 = 136 roundings of 2^-24 for the sum, and a few for
// the logarithm, which is at most 17 here. Errors of a random sign stay far below.
constexpr double kLossRoundings = 140.0;
// e^x is off by 2e-7 = 3.4 roundings, its argument by one, the sum as above; relative to scale.
constexpr double kGradientRoundings = 145.0;

std::vector<double> targets(std::int64_t M, std::int64_t V) {
  std::vector<double> values = token_values(M, V, 1, 77);
  if (M > 2) values[1] = kIgnoredTarget;
  return values;
}

std::vector<double> logits(std::int64_t count) { return normal_values(count, 1, 5, 5.0); }

TEST(CrossEntropy, AgreesWithDouble) {
  for (const auto& [M, V, S] : kSizes) {
    check_op({"cross_entropy",
              {{"losses", {M}, Role::output, Type::statistic, {}, kLossRoundings, 1.0},
               {"logits", {M, S}, Role::input, Type::activation, logits(M * S)},
               {"targets", {M}, Role::input, Type::token, targets(M, V)}},
              [vocabulary = V](Stream& stream, std::span<const Tensor> t) {
                cross_entropy(stream, t[0], t[1], t[2], vocabulary);
              }});
  }
}

TEST(CrossEntropy, GradientAgreesWithDouble) {
  for (const auto& [M, V, S] : kSizes) {
    check_op({"cross_entropy_with_gradient",
              {{"losses", {M}, Role::output, Type::statistic, {}, kLossRoundings, 1.0},
               {"logits",
                {M, S},
                Role::updated,
                Type::activation,
                logits(M * S),
                kGradientRoundings,
                0.25},
               {"targets", {M}, Role::input, Type::token, targets(M, V)}},
              [vocabulary = V](Stream& stream, std::span<const Tensor> t) {
                cross_entropy_with_gradient(stream, t[0], t[1], t[2], vocabulary, 0.25);
              }});
  }
}

TEST(CrossEntropy, GradientIsThatOfTheLoss) {
  constexpr double kScale = 0.5;
  const GuardedTensor x = f64_normal({3, 9}, 3, 0);
  const GuardedTensor gradient = f64_tensor({3, 9}, x.get());
  const GuardedTensor targets(DType::i32, {3});
  targets.set({4.0, kIgnoredTarget, 0.0});
  const GuardedTensor losses(DType::f64, {3});
  Stream stream;
  cross_entropy_with_gradient(stream, losses.tensor(), gradient.tensor(), targets.tensor(), 9,
                              kScale);
  check_gradient("dlogits", gradient, x, [&] {
    cross_entropy(stream, losses.tensor(), x.tensor(), targets.tensor(), 9);
    return kScale * (losses.get()[0] + losses.get()[1] + losses.get()[2]);
  });
}

TEST(CrossEntropy, EqualLogitsCostLogV) {
  if (skips_without_gpu()) return;
  for (const DType dtype : activation_types()) {
    const GuardedTensor x(dtype, {1, 50257}, test_device());
    x.set(std::vector<double>(50257, -3.0));
    const GuardedTensor targets(DType::i32, {1}, test_device());
    targets.set({50256.0});
    const GuardedTensor loss(device::accumulator_dtype(dtype), {1}, test_device());
    Stream stream(test_device());
    cross_entropy(stream, loss.tensor(), x.tensor(), targets.tensor(), 50257);
    stream.synchronize();
    // e^0 = 1 and sums of ones are exact; log(50257) = 10.8 rounds once to f32.
    EXPECT_NEAR(loss.get()[0], std::log(50257.0), 11.0 * 0x1p-24);
  }
}

TEST(CrossEntropy, LargeAndMinusInfiniteLogitsAreHarmless) {
  if (skips_without_gpu()) return;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const DType dtype : activation_types()) {
    // The first block is masked as a whole.
    std::vector<double> values(3000, -kInfinity);
    values[2500] = 30000.0;
    values[2999] = 30000.0;
    const GuardedTensor x(dtype, {1, 3000}, test_device());
    x.set(values);
    const GuardedTensor targets(DType::i32, {1}, test_device());
    targets.set({2999.0});
    const GuardedTensor loss(device::accumulator_dtype(dtype), {1}, test_device());
    Stream stream(test_device());
    cross_entropy_with_gradient(stream, loss.tensor(), x.tensor(), targets.tensor(), 3000, 1.0);
    stream.synchronize();
    EXPECT_NEAR(loss.get()[0], std::log(2.0), 1e-6);
    EXPECT_NEAR(x.get()[2500], 0.5, 1e-6);
    EXPECT_NEAR(x.get()[2999], -0.5, 1e-6);
    EXPECT_NEAR(x.get()[0], 0.0, 1e-30);
  }
}

TEST(CrossEntropy, NanAndInfinityReachTheLossOfTheirRowOnly) {
  if (skips_without_gpu()) return;
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    for (const DType dtype : activation_types()) {
      std::vector<double> values(2 * 5000, 1.0);
      values[4000] = bad;
      const GuardedTensor x(dtype, {2, 5000}, test_device());
      x.set(values);
      const GuardedTensor targets(DType::i32, {2}, test_device());
      targets.set({3.0, 3.0});
      const GuardedTensor losses(device::accumulator_dtype(dtype), {2}, test_device());
      Stream stream(test_device());
      cross_entropy(stream, losses.tensor(), x.tensor(), targets.tensor(), 5000);
      stream.synchronize();
      EXPECT_FALSE(std::isfinite(losses.get()[0])) << bad;
      EXPECT_TRUE(std::isfinite(losses.get()[1])) << bad;
    }
  }
}

TEST(CrossEntropy, AnIgnoredRowIsZeroWhateverItHolds) {
  if (skips_without_gpu()) return;
  const GuardedTensor x(DType::bf16, {1, 40}, test_device());  // all NaN
  const GuardedTensor targets(DType::i32, {1}, test_device());
  targets.set({kIgnoredTarget});
  const GuardedTensor loss(DType::f32, {1}, test_device());
  Stream stream(test_device());
  cross_entropy_with_gradient(stream, loss.tensor(), x.tensor(), targets.tensor(), 40, 1.0);
  stream.synchronize();
  EXPECT_EQ(loss.get()[0], 0.0);
  EXPECT_EQ(x.get(), std::vector<double>(40, 0.0));
}

TEST(CrossEntropy, WhatStandsBehindTheVocabularyCountsForNothing) {
  if (skips_without_gpu()) return;
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  for (const DType dtype : activation_types()) {
    const GuardedTensor x(dtype, {2, 24}, test_device());
    std::vector<double> values(48, 1.0);
    for (const std::size_t row : {0, 24}) {
      std::fill_n(values.begin() + static_cast<std::ptrdiff_t>(row) + 17, 7, kNan);
    }
    x.set(values);
    const GuardedTensor targets(DType::i32, {2}, test_device());
    targets.set({16.0, kIgnoredTarget});
    const GuardedTensor losses(device::accumulator_dtype(dtype), {2}, test_device());
    Stream stream(test_device());
    cross_entropy_with_gradient(stream, losses.tensor(), x.tensor(), targets.tensor(), 17, 17.0);
    stream.synchronize();
    EXPECT_NEAR(losses.get()[0], std::log(17.0), 3.0 * 0x1p-24);  // as above
    const std::vector<double> gradient = x.get();
    EXPECT_NEAR(gradient[0], 1.0, 0x1p-8);  // 17 / 17, rounded once
    for (std::size_t i = 17; i < 48; ++i) EXPECT_EQ(gradient[i], 0.0) << i;
  }
}

TEST(CrossEntropy, RefusesWrongShapesAndDtypes) {
  const GuardedTensor x(DType::bf16, {2, 40});
  const GuardedTensor targets(DType::i32, {2});
  const GuardedTensor one(DType::f32, {1});
  const GuardedTensor half(DType::bf16, {2});
  Stream stream;
  EXPECT_THROW(cross_entropy(stream, one.tensor(), x.tensor(), targets.tensor(), 40), base::Error);
  EXPECT_THROW(cross_entropy(stream, half.tensor(), x.tensor(), targets.tensor(), 40), base::Error);
  const GuardedTensor losses(DType::f32, {2});
  EXPECT_THROW(cross_entropy(stream, losses.tensor(), x.tensor(), targets.tensor(), 41),
               base::Error);
}

}  // namespace
}  // namespace ssmax::kernels
