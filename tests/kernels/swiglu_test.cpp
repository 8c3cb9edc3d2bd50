#include "kernels/swiglu/swiglu.h"

#include "base/errors.h"
#include "support/op_case.h"

namespace ssmax::kernels {
namespace {

using namespace ssmax::testing;

struct Size {
  std::int64_t M;
  std::int64_t F;
};
constexpr Size kSizes[] = {{1, 1}, {1, 17}, {3, 16}, {70, 100}, {5, 1027}};

// The exponential is good to 2e-7 = 3.4 roundings, the rest of the formula takes at most eight.
constexpr double kRoundings = 12.0;

std::vector<double> wide(std::int64_t count) { return normal_values(count, 1, 9, 4.0); }

TEST(Swiglu, AgreesWithDouble) {
  for (const auto [M, F] : kSizes) {
    check_op({"swiglu",
              {{"out", {M, F}, Role::output, Type::activation, {}, kRoundings},
               {"gate_up", {M, 2 * F}, Role::input, Type::activation, wide(M * 2 * F)}},
              [](Stream& stream, std::span<const Tensor> t) { swiglu(stream, t[0], t[1]); }});
  }
}

TEST(Swiglu, BackwardAgreesWithDouble) {
  for (const auto [M, F] : kSizes) {
    check_op({"swiglu_backward",
              {{"dgate_up", {M, 2 * F}, Role::output, Type::activation, {}, kRoundings},
               {"dout", {M, F}},
               {"gate_up", {M, 2 * F}, Role::input, Type::activation, wide(M * 2 * F)}},
              [](Stream& stream, std::span<const Tensor> t) {
                swiglu_backward(stream, t[0], t[1], t[2]);
              }});
  }
}

TEST(Swiglu, BackwardMayWriteOverItsInput) {
  check_op({"swiglu_backward in place",
            {{"gate_up", {7, 100}, Role::updated, Type::activation, wide(700), kRoundings},
             {"dout", {7, 50}}},
            [](Stream& stream, std::span<const Tensor> t) {
              swiglu_backward(stream, t[0], t[1], t[0]);
            }});
}

TEST(Swiglu, GradientIsThatOfTheForward) {
  const GuardedTensor gate_up = f64_normal({3, 10}, 3, 0);
  const GuardedTensor dout = f64_normal({3, 5}, 3, 1);
  const GuardedTensor out(DType::f64, {3, 5});
  const GuardedTensor gradient(DType::f64, {3, 10});
  Stream stream;
  swiglu_backward(stream, gradient.tensor(), dout.tensor(), gate_up.tensor());
  check_gradient("dgate_up", gradient, gate_up, [&] {
    swiglu(stream, out.tensor(), gate_up.tensor());
    return dot(out, dout);
  });
}

// silu(-big) = 0 and silu(big) = big, without NaN on the way.
TEST(Swiglu, SaturatesAndPassesNan) {
  for (const DType dtype : kActivationTypes) {
    const GuardedTensor gate_up(dtype, {1, 6});
    gate_up.set({-1000.0, 1000.0, std::numeric_limits<double>::quiet_NaN(), 1.0, 1.0, 1.0});
    const GuardedTensor out(dtype, {1, 3});
    const GuardedTensor dout(dtype, {1, 3});
    dout.set({1.0, 1.0, 1.0});
    const GuardedTensor gradient(dtype, {1, 6});
    Stream stream;
    swiglu(stream, out.tensor(), gate_up.tensor());
    swiglu_backward(stream, gradient.tensor(), dout.tensor(), gate_up.tensor());
    EXPECT_NEAR(out.get()[0], 0.0, 1e-30);
    EXPECT_EQ(out.get()[1], 1000.0);
    EXPECT_TRUE(std::isnan(out.get()[2]));
    EXPECT_NEAR(gradient.get()[0], 0.0, 1e-30);
    EXPECT_EQ(gradient.get()[1], 1.0);
    EXPECT_TRUE(std::isnan(gradient.get()[2]));
  }
}

TEST(Swiglu, RefusesWrongShapes) {
  const GuardedTensor out(DType::f32, {2, 4});
  const GuardedTensor gate_up(DType::f32, {2, 7});
  Stream stream;
  EXPECT_THROW(swiglu(stream, out.tensor(), gate_up.tensor()), base::Error);
  EXPECT_THROW(swiglu_backward(stream, gate_up.tensor(), out.tensor(), gate_up.tensor()),
               base::Error);
}

}  // namespace
}  // namespace ssmax::kernels
