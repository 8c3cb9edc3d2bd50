#include "kernels/linear/linear.h"

#include "base/errors.h"
#include "base/setting_scope.h"
#include "kernels/linear/matmul_limit.h"
#include "support/op_case.h"

namespace ssmax::kernels {
namespace {

using namespace ssmax::testing;

struct Size {
  std::int64_t M;
  std::int64_t K;
  std::int64_t N;
};
// A single row (generation), odd extents, one column, several tasks.
constexpr Size kSizes[] = {{1, 1, 1},   {1, 64, 300},   {3, 17, 5},     {16, 16, 16}, {37, 1, 29},
                           {33, 65, 1}, {70, 100, 131}, {300, 48, 257}, {8, 3000, 16}};

// A sum of L products of normal numbers in any order is off by at most L roundings of the sum of
// their magnitudes, L 2/pi on average; errors of a random sign leave sqrt(L) of them. The bound
// takes L roundings of magnitude sqrt(L), which is the size of the largest results.
Operand result(std::string name, const Shape& shape, Role role, Type type, std::int64_t length) {
  return {std::move(name),
          shape,
          role,
          type,
          {},
          static_cast<double>(length) + 8.0,
          std::sqrt(static_cast<double>(length))};
}

Role start_of(Write write) { return write == Write::add ? Role::updated : Role::output; }

TEST(Linear, AgreesWithDouble) {
  for (const Write write : {Write::overwrite, Write::add}) {
    for (const bool with_bias : {false, true}) {
      for (const auto [M, K, N] : kSizes) {
        check_op({std::string("linear") + (with_bias ? ", bias" : "") +
                      (write == Write::add ? ", add" : ""),
                  {result("y", {M, N}, start_of(write), Type::activation, K),
                   {"x", {M, K}},
                   {"weight", {N, K}},
                   {"bias", {N}}},
                  [write, with_bias](Stream& stream, std::span<const Tensor> t) {
                    linear(stream, t[0], t[1], t[2], with_bias ? ConstTensor(t[3]) : ConstTensor(),
                           write);
                  },
                  Order::of_thread_count});
      }
    }
  }
}

TEST(Linear, InputGradientAgreesWithDouble) {
  for (const Write write : {Write::overwrite, Write::add}) {
    for (const auto [M, K, N] : kSizes) {
      check_op({write == Write::add ? "linear_input_gradient, add" : "linear_input_gradient",
                {result("dx", {M, K}, start_of(write), Type::activation, N),
                 {"dy", {M, N}},
                 {"weight", {N, K}}},
                [write](Stream& stream, std::span<const Tensor> t) {
                  linear_input_gradient(stream, t[0], t[1], t[2], write);
                },
                Order::of_thread_count});
    }
  }
}

TEST(Linear, WeightGradientAgreesWithDouble) {
  for (const bool with_bias : {false, true}) {
    for (const auto [M, K, N] : kSizes) {
      check_op({with_bias ? "linear_weight_gradient, bias" : "linear_weight_gradient",
                {result("dweight", {N, K}, Role::updated, Type::statistic, M),
                 result("dbias", {N}, Role::updated, Type::statistic, M),
                 {"dy", {M, N}},
                 {"x", {M, K}}},
                [with_bias](Stream& stream, std::span<const Tensor> t) {
                  linear_weight_gradient(stream, t[0], with_bias ? t[1] : Tensor(), t[2], t[3]);
                },
                Order::of_thread_count});
    }
  }
}

std::vector<GeluFusion> gelu_fusions() {
  if (on_cpu()) return {GeluFusion::off};
  return {GeluFusion::on, GeluFusion::off};
}

/// Of GELU or its gradient behind sums of `length` products, whose largest are four times their
/// magnitude. The slope is 1.13 at most, and apart from the product GELU takes what is rounded to
/// bf16, 2^-9 of it; in f32 it adds 24 roundings. A GPU's own tanh, which the library may use, is
/// 2^-11 off: GELU by half of that of its argument, its slope by 2^-8.
Operand gelu_result(Operand sums, DType dtype, double slope_error) {
  sums.magnitude *= 4.0;
  sums.roundings += 24.0;
  if (dtype != DType::bf16) return sums;
  sums.roundings += 1.13 * 0x1p15;
  if (!on_cpu() && !is_emulated()) sums.roundings += slope_error * 0x1p24;
  return sums;
}

/// Fused may be bf16 matrices with rows of whole 16 bytes; the emulated library has all kernels.
void check_form(GeluForm form, const Tensor& output, GeluFusion fusion) {
  const std::int64_t row = output.extent(output.shape().rank() - 1);
  const bool may_fuse = output.device().kind == device::DeviceKind::cuda &&
                        fusion == GeluFusion::on && output.dtype() == DType::bf16 && row % 8 == 0;
  if (may_fuse && !is_emulated()) return;
  EXPECT_EQ(form, may_fuse ? GeluForm::fused : GeluForm::separate);
}

TEST(Linear, GeluAgreesWithDouble) {
  for (const GeluFusion fusion : gelu_fusions()) {
    const base::SettingScope scope(set_gelu_fusion, fusion);
    for (const DType dtype : kActivationTypes) {
      for (const bool with_bias : {false, true}) {
        for (const Size& size : kSizes) {
          const Operand sums =
              result("y", {size.M, size.N}, Role::output, Type::activation, size.K);
          check_op({fusion == GeluFusion::on ? "linear_gelu" : "linear_gelu, separate",
                    {gelu_result(sums, dtype, 0x1p-12),
                     result("preactivation", sums.shape, sums.role, sums.type, size.K),
                     {"x", {size.M, size.K}},
                     {"weight", {size.N, size.K}},
                     {"bias", {size.N}}},
                    [=](Stream& stream, std::span<const Tensor> t) {
                      const GeluForm form =
                          linear_gelu(stream, t[0], t[1], t[2], t[3],
                                      with_bias ? ConstTensor(t[4]) : ConstTensor());
                      check_form(form, t[0], fusion);
                    },
                    Order::of_thread_count},
                   dtype);
        }
      }
    }
  }
}

TEST(Linear, InputGradientThroughGeluAgreesWithDouble) {
  for (const GeluFusion fusion : gelu_fusions()) {
    const base::SettingScope scope(set_gelu_fusion, fusion);
    for (const DType dtype : kActivationTypes) {
      for (const Size& size : kSizes) {
        const Operand sums = result("dx", {size.M, size.K}, Role::output, Type::activation, size.N);
        check_op({fusion == GeluFusion::on ? "gelu_linear_input_gradient"
                                           : "gelu_linear_input_gradient, separate",
                  {gelu_result(sums, dtype, 0x1p-8),
                   {"dy", {size.M, size.N}},
                   {"weight", {size.N, size.K}},
                   {"preactivation", sums.shape}},
                  [=](Stream& stream, std::span<const Tensor> t) {
                    const GeluForm form =
                        gelu_linear_input_gradient(stream, t[0], t[1], t[2], t[3]);
                    check_form(form, t[0], fusion);
                  },
                  Order::of_thread_count},
                 dtype);
      }
    }
  }
}

TEST(Linear, GeluIsFusedWhereItIsFaster) {
  for (const int major : {8, 9, 10, 12}) {
    EXPECT_EQ(wants_gelu_fusion(GeluFusion::automatic, major), major == 9 || major == 10);
    EXPECT_TRUE(wants_gelu_fusion(GeluFusion::on, major));
    EXPECT_FALSE(wants_gelu_fusion(GeluFusion::off, major));
  }
}

TEST(Linear, GradientsAreThoseOfTheForward) {
  const GuardedTensor x = f64_normal({3, 4}, 3, 0);
  const GuardedTensor weight = f64_normal({5, 4}, 3, 1);
  const GuardedTensor bias = f64_normal({5}, 3, 2);
  const GuardedTensor dy = f64_normal({3, 5}, 3, 3);
  const GuardedTensor y(DType::f64, {3, 5});
  const GuardedTensor dx(DType::f64, {3, 4});
  const GuardedTensor dweight = f64_tensor({5, 4}, std::vector<double>(20, 0.0));
  const GuardedTensor dbias = f64_tensor({5}, std::vector<double>(5, 0.0));
  Stream stream;
  linear_input_gradient(stream, dx.tensor(), dy.tensor(), weight.tensor());
  linear_weight_gradient(stream, dweight.tensor(), dbias.tensor(), dy.tensor(), x.tensor());
  const auto loss = [&] {
    linear(stream, y.tensor(), x.tensor(), weight.tensor(), bias.tensor());
    return dot(y, dy);
  };
  check_gradient("dx", dx, x, loss);
  check_gradient("dweight", dweight, weight, loss);
  check_gradient("dbias", dbias, bias, loss);
}

TEST(Linear, TheGradientThroughGeluIsThatOfTheForward) {
  const GuardedTensor preactivation = f64_normal({3, 4}, 5, 0);
  const GuardedTensor weight = f64_normal({5, 4}, 5, 1);
  const GuardedTensor dy = f64_normal({3, 5}, 5, 2);
  const GuardedTensor identity =
      f64_tensor({4, 4}, {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1});
  const GuardedTensor hidden(DType::f64, {3, 4});
  const GuardedTensor same(DType::f64, {3, 4});
  const GuardedTensor y(DType::f64, {3, 5});
  const GuardedTensor dx(DType::f64, {3, 4});
  Stream stream;
  gelu_linear_input_gradient(stream, dx.tensor(), dy.tensor(), weight.tensor(),
                             preactivation.tensor());
  check_gradient("dx", dx, preactivation, [&] {
    linear_gelu(stream, hidden.tensor(), same.tensor(), preactivation.tensor(), identity.tensor(),
                {});
    linear(stream, y.tensor(), hidden.tensor(), weight.tensor(), {});
    return dot(y, dy);
  });
}

TEST(Linear, TakesMoreThanTwoAxes) {
  check_op({"linear (2, 5, 12)",
            {result("y", {2, 5, 7}, Role::output, Type::activation, 12),
             {"x", {2, 5, 12}},
             {"weight", {7, 12}}},
            [](Stream& stream, std::span<const Tensor> t) { linear(stream, t[0], t[1], t[2], {}); },
            Order::of_thread_count});
}

// More shapes than are kept prepared: those that were dropped are made again.
TEST(Linear, ForgetsAndMakesAgain) {
  Stream stream;
  const GuardedTensor x(DType::f32, {258, 2});
  x.set(std::vector<double>(516, 1.0));
  const GuardedTensor weight(DType::f32, {1, 2});
  weight.set({2.0, 3.0});
  const GuardedTensor y(DType::f32, {258, 1});
  const auto call = [&](std::int64_t rows) {
    linear(stream, y.tensor().rows(0, rows), x.tensor().rows(0, rows), weight.tensor(), {});
    ASSERT_EQ(y.tensor().data<float>()[rows - 1], 5.0F);
  };
  for (std::int64_t rows = 1; rows <= 258; ++rows) call(rows);
  y.set(std::vector<double>(258, 0.0));
  for (std::int64_t rows = 1; rows <= 3; ++rows) call(rows);
}

TEST(Linear, ANanInARowStaysInTheRow) {
  if (skips_without_gpu()) return;
  for (const DType dtype : activation_types()) {
    const GuardedTensor x(dtype, {2, 20}, test_device());
    std::vector<double> values(40, 1.0);
    values[5] = std::numeric_limits<double>::quiet_NaN();
    x.set(values);
    const GuardedTensor weight(dtype, {3, 20}, test_device());
    weight.set(std::vector<double>(60, 1.0));
    const GuardedTensor y(dtype, {2, 3}, test_device());
    Stream stream(test_device());
    linear(stream, y.tensor(), x.tensor(), weight.tensor(), {});
    stream.synchronize();
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(std::isnan(y.get()[i]));
      EXPECT_EQ(y.get()[3 + i], 20.0);
    }
  }
}

TEST(Linear, RefusesWrongShapesAndDtypes) {
  const GuardedTensor x(DType::bf16, {2, 8});
  const GuardedTensor weight(DType::bf16, {3, 8});
  const GuardedTensor narrow(DType::bf16, {3, 7});
  const GuardedTensor single(DType::f32, {3, 8});
  const GuardedTensor y(DType::bf16, {2, 3});
  Stream stream;
  EXPECT_THROW(linear(stream, y.tensor(), x.tensor(), narrow.tensor(), {}), base::Error);
  EXPECT_THROW(linear(stream, y.tensor(), x.tensor(), single.tensor(), {}), base::Error);
  EXPECT_THROW(linear(stream, x.tensor(), x.tensor(), weight.tensor(), {}), base::Error);
  EXPECT_THROW(linear(stream, y.tensor(), x.tensor(), weight.tensor(), x.tensor()), base::Error);
  EXPECT_THROW(linear_input_gradient(stream, y.tensor(), y.tensor(), weight.tensor()), base::Error);
  EXPECT_THROW(linear_gelu(stream, x.tensor(), y.tensor(), x.tensor(), weight.tensor(), {}),
               base::Error);
  EXPECT_THROW(linear_gelu(stream, y.tensor(), x.tensor(), x.tensor(), weight.tensor(), {}),
               base::Error);
  EXPECT_THROW(
      gelu_linear_input_gradient(stream, x.tensor(), y.tensor(), weight.tensor(), y.tensor()),
      base::Error);
  // The gradient of bf16 weights is f32.
  EXPECT_THROW(linear_weight_gradient(stream, weight.tensor(), {}, y.tensor(), x.tensor()),
               base::Error);
}

TEST(Linear, TheMeasuredLimitIsPositive) {
  Stream stream;
  EXPECT_GT(measured_matmul_limit(stream, DType::f32), 0.0);
}

}  // namespace
}  // namespace ssmax::kernels
