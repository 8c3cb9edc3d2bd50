#include "kernels/layer_norm/layer_norm.h"

#include "base/errors.h"
#include "support/op_case.h"

namespace ssmax::kernels {
namespace {

using namespace ssmax::testing;

constexpr double kEps = 1e-5;

struct Size {
  std::int64_t M;
  std::int64_t C;
};
// One row, widths around the vector length, more rows than chunks of the row sums, a row too wide
// for all warps of a GPU's block to have sums of their own.
constexpr Size kSizes[] = {{1, 2}, {1, 17}, {3, 16}, {70, 100}, {1100, 33}, {5, 769}, {3, 4100}};

// Two row sums of C terms in 16 lanes cost at most C / 16 + 4 roundings each; the rest fourteen.
// Values near the mean lose as many units as x is larger than its deviation: within a factor 4 for
// normal numbers.
double row_roundings(std::int64_t C) { return 4.0 * (static_cast<double>(C) / 8.0 + 22.0); }

// dweight: the products cost six roundings, a chunk sums at most 18 rows here, then 64 chunks.
constexpr double kColumnRoundings = 100.0;

Operand without_start(std::string name, const Shape& shape, Type type, double roundings) {
  return {std::move(name), shape, Role::output, type, {}, roundings};
}

TEST(LayerNorm, AgreesWithDouble) {
  for (const bool with_bias : {true, false}) {
    for (const auto [M, C] : kSizes) {
      check_op({with_bias ? "layer_norm with bias" : "layer_norm without bias",
                {without_start("y", {M, C}, Type::activation, row_roundings(C)),
                 without_start("mean", {M}, Type::statistic, row_roundings(C)),
                 without_start("rstd", {M}, Type::statistic, row_roundings(C)),
                 {"x", {M, C}},
                 {"weight", {C}},
                 {"bias", {C}}},
                [with_bias](Stream& stream, std::span<const Tensor> t) {
                  layer_norm(stream, t[0], {t[1], t[2]}, t[3], t[4],
                             with_bias ? ConstTensor(t[5]) : ConstTensor(), kEps);
                }});
    }
  }
}

TEST(LayerNorm, AddAgreesWithDoubleAndMayWriteTheSumOverItsInput) {
  for (const auto [M, C] : kSizes) {
    check_op({"add_layer_norm",
              {{"x", {M, C}, Role::updated, Type::activation, grid_values(M * C, 1, 50), 0.0},
               without_start("y", {M, C}, Type::activation, row_roundings(C)),
               without_start("mean", {M}, Type::statistic, row_roundings(C)),
               without_start("rstd", {M}, Type::statistic, row_roundings(C)),
               {"delta", {M, C}, Role::input, Type::activation, grid_values(M * C, 1, 51)},
               {"weight", {C}},
               {"bias", {C}}},
              [](Stream& stream, std::span<const Tensor> t) {
                add_layer_norm(stream, t[0], t[1], {t[2], t[3]}, t[0], t[4], t[5], t[6], kEps);
              }});
  }
}

TEST(LayerNorm, BackwardAgreesWithDouble) {
  for (const Write write : {Write::overwrite, Write::add}) {
    for (const bool with_bias : {true, false}) {
      for (const auto [M, C] : kSizes) {
        check_op({write == Write::add ? "layer_norm_backward, add" : "layer_norm_backward",
                  {{"dx",
                    {M, C},
                    write == Write::add ? Role::updated : Role::output,
                    Type::activation,
                    {},
                    row_roundings(C)},
                   {"dweight", {C}, Role::updated, Type::statistic, {}, kColumnRoundings},
                   {"dbias", {C}, Role::updated, Type::statistic, {}, kColumnRoundings},
                   {"dy", {M, C}},
                   {"x", {M, C}},
                   {"weight", {C}},
                   {"mean", {M}, Role::input, Type::statistic},
                   {"rstd", {M}, Role::input, Type::statistic}},
                  [write, with_bias](Stream& stream, std::span<const Tensor> t) {
                    layer_norm_backward(stream, t[0], t[1], with_bias ? t[2] : Tensor(), t[3], t[4],
                                        t[5], {t[6], t[7]}, write);
                  }});
      }
    }
  }
}

TEST(LayerNorm, GradientIsThatOfTheForward) {
  constexpr std::int64_t M = 4;
  constexpr std::int64_t C = 7;
  const GuardedTensor x = f64_normal({M, C}, 3, 0);
  const GuardedTensor weight = f64_normal({C}, 3, 1);
  const GuardedTensor bias = f64_normal({C}, 3, 2);
  const GuardedTensor dy = f64_normal({M, C}, 3, 3);
  const GuardedTensor y(DType::f64, {M, C});
  const GuardedTensor mean(DType::f64, {M});
  const GuardedTensor rstd(DType::f64, {M});
  const LayerNormSaved saved{mean.tensor(), rstd.tensor()};
  const GuardedTensor dx(DType::f64, {M, C});
  const GuardedTensor dweight = f64_tensor({C}, std::vector<double>(C, 0.0));
  const GuardedTensor dbias = f64_tensor({C}, std::vector<double>(C, 0.0));
  Stream stream;
  const auto loss = [&] {
    layer_norm(stream, y.tensor(), saved, x.tensor(), weight.tensor(), bias.tensor(), kEps);
    return dot(y, dy);
  };
  loss();
  layer_norm_backward(stream, dx.tensor(), dweight.tensor(), dbias.tensor(), dy.tensor(),
                      x.tensor(), weight.tensor(), saved, Write::overwrite);
  check_gradient("dx", dx, x, loss);
  check_gradient("dweight", dweight, weight, loss);
  check_gradient("dbias", dbias, bias, loss);
}

// The sum of squares minus the square of the sum would lose everything here.
TEST(LayerNorm, KeepsTheVarianceBesideALargeMean) {
  const GuardedTensor x(DType::f32, {1, 64});
  std::vector<double> values(64);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 4096.0 + (i % 2 == 0 ? 1.0 : -1.0);
  x.set(values);
  const GuardedTensor weight(DType::f32, {64});
  weight.set(std::vector<double>(64, 1.0));
  const GuardedTensor y(DType::f32, {1, 64});
  const GuardedTensor mean(DType::f32, {1});
  const GuardedTensor rstd(DType::f32, {1});
  Stream stream;
  layer_norm(stream, y.tensor(), {mean.tensor(), rstd.tensor()}, x.tensor(), weight.tensor(), {},
             kEps);
  EXPECT_EQ(mean.get()[0], 4096.0);
  // 1 / sqrt(1 + 1e-5), three roundings.
  EXPECT_NEAR(rstd.get()[0], 1.0 / std::sqrt(1.0 + kEps), 3 * 0x1p-24);
}

TEST(LayerNorm, WithABiasAGpuTakesHalfTheWidth) {
  if (skips_without_gpu()) return;
  const auto backward = [](std::int64_t C) {
    const auto tensor = [](DType dtype, const Shape& shape) {
      return GuardedTensor(dtype, shape, test_device());
    };
    const GuardedTensor row = tensor(DType::bf16, {1, C});
    const GuardedTensor weight = tensor(DType::bf16, {C});
    const GuardedTensor dweight = tensor(DType::f32, {C});
    const GuardedTensor dbias = tensor(DType::f32, {C});
    const GuardedTensor mean = tensor(DType::f32, {1});
    const GuardedTensor rstd = tensor(DType::f32, {1});
    Stream stream(test_device());
    layer_norm_backward(stream, row.tensor(), dweight.tensor(), dbias.tensor(), row.tensor(),
                        row.tensor(), weight.tensor(), {mean.tensor(), rstd.tensor()},
                        Write::overwrite);
    stream.synchronize();
  };
  EXPECT_NO_THROW(backward(12288));
  if (on_cpu()) {
    EXPECT_NO_THROW(backward(12289));
  } else {
    EXPECT_THROW(backward(12289), base::Error);
  }
}

TEST(LayerNorm, RefusesWrongShapesAndDtypes) {
  const GuardedTensor x(DType::f32, {2, 8});
  const GuardedTensor weight(DType::f32, {8});
  const GuardedTensor narrow(DType::f32, {7});
  const GuardedTensor two(DType::f32, {2});
  const GuardedTensor one(DType::f32, {1});
  Stream stream;
  const auto call = [&](const LayerNormSaved& saved, const ConstTensor& w, const ConstTensor& b) {
    layer_norm(stream, x.tensor(), saved, x.tensor(), w, b, kEps);
  };
  const LayerNormSaved saved{two.tensor(), two.tensor()};
  EXPECT_THROW(call({one.tensor(), two.tensor()}, weight.tensor(), {}), base::Error);
  EXPECT_THROW(call({two.tensor(), one.tensor()}, weight.tensor(), {}), base::Error);
  EXPECT_THROW(call(saved, narrow.tensor(), {}), base::Error);
  EXPECT_THROW(call(saved, weight.tensor(), narrow.tensor()), base::Error);
}

}  // namespace
}  // namespace ssmax::kernels
