#include "kernels/rms_norm/rms_norm.h"

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
constexpr Size kSizes[] = {{1, 1}, {1, 17}, {3, 16}, {70, 100}, {1100, 33}, {5, 769}, {3, 4100}};

// A row sum of C terms in 16 lanes costs at most C / 16 + 4 roundings; the rest of the formula ten.
double row_roundings(std::int64_t C) { return static_cast<double>(C) / 16.0 + 14.0; }

// dweight: the products cost four roundings, a chunk sums at most 18 rows here, then 64 chunks.
constexpr double kColumnRoundings = 96.0;

TEST(RmsNorm, AgreesWithDouble) {
  for (const auto [M, C] : kSizes) {
    check_op({"rms_norm",
              {{"y", {M, C}, Role::output, Type::activation, {}, row_roundings(C)},
               {"rstd", {M}, Role::output, Type::statistic, {}, row_roundings(C)},
               {"x", {M, C}},
               {"weight", {C}}},
              [](Stream& stream, std::span<const Tensor> t) {
                rms_norm(stream, t[0], t[1], t[2], t[3], kEps);
              }});
  }
}

TEST(RmsNorm, MayWriteOverItsInput) {
  check_op({"rms_norm in place",
            {{"x", {9, 50}, Role::updated, Type::activation, {}, row_roundings(50)},
             {"rstd", {9}, Role::output, Type::statistic, {}, row_roundings(50)},
             {"weight", {50}}},
            [](Stream& stream, std::span<const Tensor> t) {
              rms_norm(stream, t[0], t[1], t[0], t[2], kEps);
            }});
}

TEST(RmsNorm, AddAgreesWithDouble) {
  for (const auto [M, C] : kSizes) {
    check_op({"add_rms_norm",
              {{"sum", {M, C}, Role::output, Type::activation, {}, 0.0},
               {"y", {M, C}, Role::output, Type::activation, {}, row_roundings(C)},
               {"rstd", {M}, Role::output, Type::statistic, {}, row_roundings(C)},
               {"x", {M, C}, Role::input, Type::activation, grid_values(M * C, 1, 50)},
               {"delta", {M, C}, Role::input, Type::activation, grid_values(M * C, 1, 51)},
               {"weight", {C}}},
              [](Stream& stream, std::span<const Tensor> t) {
                add_rms_norm(stream, t[0], t[1], t[2], t[3], t[4], t[5], kEps);
              }});
  }
}

TEST(RmsNorm, AddMayWriteTheSumOverItsInput) {
  check_op({"add_rms_norm in place",
            {{"x", {9, 50}, Role::updated, Type::activation, grid_values(450, 1, 50), 0.0},
             {"y", {9, 50}, Role::output, Type::activation, {}, row_roundings(50)},
             {"rstd", {9}, Role::output, Type::statistic, {}, row_roundings(50)},
             {"delta", {9, 50}, Role::input, Type::activation, grid_values(450, 1, 51)},
             {"weight", {50}}},
            [](Stream& stream, std::span<const Tensor> t) {
              add_rms_norm(stream, t[0], t[1], t[2], t[0], t[3], t[4], kEps);
            }});
}

TEST(RmsNorm, BackwardAgreesWithDouble) {
  for (const Write write : {Write::overwrite, Write::add}) {
    for (const auto [M, C] : kSizes) {
      check_op({write == Write::add ? "rms_norm_backward, add" : "rms_norm_backward",
                {{"dx",
                  {M, C},
                  write == Write::add ? Role::updated : Role::output,
                  Type::activation,
                  {},
                  row_roundings(C)},
                 {"dweight", {C}, Role::updated, Type::statistic, {}, kColumnRoundings},
                 {"dy", {M, C}},
                 {"x", {M, C}},
                 {"weight", {C}},
                 {"rstd", {M}, Role::input, Type::statistic}},
                [write](Stream& stream, std::span<const Tensor> t) {
                  rms_norm_backward(stream, t[0], t[1], t[2], t[3], t[4], t[5], write);
                }});
    }
  }
}

TEST(RmsNorm, GradientIsThatOfTheForward) {
  constexpr std::int64_t M = 4;
  constexpr std::int64_t C = 7;
  const GuardedTensor x = f64_normal({M, C}, 3, 0);
  const GuardedTensor weight = f64_normal({C}, 3, 1);
  const GuardedTensor dy = f64_normal({M, C}, 3, 2);
  const GuardedTensor y(DType::f64, {M, C});
  const GuardedTensor rstd(DType::f64, {M});
  const GuardedTensor dx(DType::f64, {M, C});
  const GuardedTensor dweight = f64_tensor({C}, std::vector<double>(C, 0.0));
  Stream stream;
  const auto loss = [&] {
    rms_norm(stream, y.tensor(), rstd.tensor(), x.tensor(), weight.tensor(), kEps);
    return dot(y, dy);
  };
  loss();
  rms_norm_backward(stream, dx.tensor(), dweight.tensor(), dy.tensor(), x.tensor(), weight.tensor(),
                    rstd.tensor(), Write::overwrite);
  check_gradient("dx", dx, x, loss);
  check_gradient("dweight", dweight, weight, loss);
}

TEST(RmsNorm, ANanStaysInItsRow) {
  if (skips_without_gpu()) return;
  for (const DType dtype : activation_types()) {
    const GuardedTensor x(dtype, {2, 20}, test_device());
    std::vector<double> values(40, 1.0);
    values[3] = std::numeric_limits<double>::quiet_NaN();
    x.set(values);
    const GuardedTensor weight(dtype, {20}, test_device());
    weight.set(std::vector<double>(20, 1.0));
    const GuardedTensor rstd(device::accumulator_dtype(dtype), {2}, test_device());
    const GuardedTensor y(dtype, {2, 20}, test_device());
    Stream stream(test_device());
    rms_norm(stream, y.tensor(), rstd.tensor(), x.tensor(), weight.tensor(), kEps);
    stream.synchronize();
    for (std::size_t i = 0; i < 40; ++i) EXPECT_EQ(std::isnan(y.get()[i]), i < 20) << i;
  }
}

// A GPU's block keeps a sum of every column in its shared memory.
TEST(RmsNorm, RowsTooWideForAGpuAreRefusedThere) {
  if (skips_without_gpu()) return;
  const auto backward = [](std::int64_t C) {
    const auto tensor = [](DType dtype, const Shape& shape) {
      return GuardedTensor(dtype, shape, test_device());
    };
    const GuardedTensor row = tensor(DType::bf16, {1, C});
    const GuardedTensor weight = tensor(DType::bf16, {C});
    const GuardedTensor dweight = tensor(DType::f32, {C});
    const GuardedTensor rstd = tensor(DType::f32, {1});
    Stream stream(test_device());
    rms_norm_backward(stream, row.tensor(), dweight.tensor(), row.tensor(), row.tensor(),
                      weight.tensor(), rstd.tensor(), Write::overwrite);
    stream.synchronize();
  };
  EXPECT_NO_THROW(backward(24576));
  if (on_cpu()) {
    EXPECT_NO_THROW(backward(24577));
    return;
  }
  try {
    backward(24577);
    FAIL() << "no error";
  } catch (const base::Error& error) {
    EXPECT_STREQ(
        error.what(),
        "norm on a GPU: expected rows of at most 24,576 elements, 12,288 with a bias; take "
        "a smaller model.hidden_size or training.device=cpu");
  }
}

TEST(RmsNorm, RefusesWrongShapesAndDtypes) {
  const GuardedTensor x(DType::f32, {2, 8});
  const GuardedTensor narrow(DType::f32, {2, 7});
  const GuardedTensor half(DType::bf16, {2, 8});
  const GuardedTensor weight(DType::f32, {8});
  const GuardedTensor rstd(DType::f32, {2});
  const GuardedTensor short_rstd(DType::f32, {1});
  Stream stream;
  const auto call = [&](const GuardedTensor& y, const GuardedTensor& r) {
    rms_norm(stream, y.tensor(), r.tensor(), x.tensor(), weight.tensor(), kEps);
  };
  EXPECT_THROW(call(narrow, rstd), base::Error);
  EXPECT_THROW(call(half, rstd), base::Error);
  EXPECT_THROW(call(x, short_rstd), base::Error);
}

}  // namespace
}  // namespace ssmax::kernels
