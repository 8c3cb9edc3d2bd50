#include "kernels/linear/gelu.h"

#include "base/errors.h"
#include "support/op_case.h"

namespace ssmax::kernels {
namespace {

using namespace ssmax::testing;

constexpr std::int64_t kCounts[] = {1, 17, 1000, 70001};

// The argument u reaches about 40 where the exponential still matters little; its rounding, two
// units of u, moves e^u by 2 u units. Against the largest value of the tensor (above 10) that is
// below 16 roundings.
constexpr double kRoundings = 24.0;

std::vector<double> wide(std::int64_t count) { return normal_values(count, 1, 9, 3.0); }

TEST(Gelu, AgreesWithDouble) {
  for (const std::int64_t count : kCounts) {
    check_op({"gelu",
              {{"out", {count}, Role::output, Type::activation, {}, kRoundings},
               {"x", {count}, Role::input, Type::activation, wide(count)}},
              [](Stream& stream, std::span<const Tensor> t) { gelu(stream, t[0], t[1]); }});
  }
}

TEST(Gelu, BackwardAgreesWithDoubleAndMayWriteOverItsInput) {
  for (const std::int64_t count : kCounts) {
    check_op({"gelu_backward",
              {{"dx", {count}, Role::output, Type::activation, {}, kRoundings},
               {"dout", {count}},
               {"x", {count}, Role::input, Type::activation, wide(count)}},
              [](Stream& stream, std::span<const Tensor> t) {
                gelu_backward(stream, t[0], t[1], t[2]);
              }});
    check_op({"gelu_backward over dout",
              {{"dx", {count}, Role::updated, Type::activation, {}, kRoundings},
               {"x", {count}, Role::input, Type::activation, wide(count)}},
              [](Stream& stream, std::span<const Tensor> t) {
                gelu_backward(stream, t[0], t[0], t[1]);
              }});
    check_op({"gelu_backward over x",
              {{"dx", {count}, Role::updated, Type::activation, wide(count), kRoundings},
               {"dout", {count}}},
              [](Stream& stream, std::span<const Tensor> t) {
                gelu_backward(stream, t[0], t[1], t[0]);
              }});
  }
}

TEST(Gelu, GradientIsThatOfTheForward) {
  const GuardedTensor x = f64_normal({30}, 3, 0);
  const GuardedTensor dout = f64_normal({30}, 3, 1);
  const GuardedTensor out(DType::f64, {30});
  const GuardedTensor dx(DType::f64, {30});
  Stream stream;
  gelu_backward(stream, dx.tensor(), dout.tensor(), x.tensor());
  check_gradient("dx", dx, x, [&] {
    gelu(stream, out.tensor(), x.tensor());
    return dot(out, dout);
  });
}

TEST(Gelu, SaturatesAndPassesNan) {
  for (const DType dtype : kActivationTypes) {
    const GuardedTensor x(dtype, {3});
    x.set({-1000.0, 1000.0, std::numeric_limits<double>::quiet_NaN()});
    const GuardedTensor out(dtype, {3});
    Stream stream;
    gelu(stream, out.tensor(), x.tensor());
    EXPECT_NEAR(out.get()[0], 0.0, 1e-30);
    EXPECT_EQ(out.get()[1], 1000.0);
    EXPECT_TRUE(std::isnan(out.get()[2]));
  }
}

TEST(Gelu, RefusesWrongShapesAndDtypes) {
  const GuardedTensor x(DType::f32, {4});
  const GuardedTensor longer(DType::f32, {5});
  const GuardedTensor tokens(DType::i32, {4});
  Stream stream;
  EXPECT_THROW(gelu(stream, longer.tensor(), x.tensor()), base::Error);
  EXPECT_THROW(gelu(stream, tokens.tensor(), tokens.tensor()), base::Error);
  EXPECT_THROW(gelu_backward(stream, x.tensor(), longer.tensor(), x.tensor()), base::Error);
}

}  // namespace
}  // namespace ssmax::kernels
