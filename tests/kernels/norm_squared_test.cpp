#include "kernels/norm_squared/norm_squared.h"

#include "base/errors.h"
#include "support/op_case.h"

namespace ssmax::kernels {
namespace {

using namespace ssmax::testing;

/// f64 is the CPU's alone.
device::Device device_of(DType dtype) {
  return dtype == DType::f64 ? device::Device{} : test_device();
}

double norm_of(const std::vector<double>& values, DType dtype) {
  const device::Device device = device_of(dtype);
  const GuardedTensor x(dtype, {static_cast<std::int64_t>(values.size())}, device);
  x.set(values);
  const GuardedTensor out(DType::f64, {1}, device);
  Stream stream(device);
  norm_squared(stream, out.tensor(), x.tensor());
  stream.synchronize();
  return out.get()[0];
}

TEST(NormSquared, AgreesWithDouble) {
  for (const std::int64_t count : {1, 17, 32768, 32769, 100003}) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      // Sums in double in any order: far below one rounding of f32.
      check_op(
          {"norm_squared",
           {{"out", {1}, Role::output, Type::exact, {}, 1e-5}, {"x", {count}}},
           [](Stream& stream, std::span<const Tensor> t) { norm_squared(stream, t[0], t[1]); }},
          dtype);
    }
  }
}

TEST(NormSquared, IsTheSumOfSquares) {
  EXPECT_EQ(norm_of({3.0, -4.0}, DType::f32), 25.0);
  EXPECT_EQ(norm_of(std::vector<double>(100000, 2.0), DType::f32), 400000.0);
  // Squares that f32 does not hold.
  EXPECT_EQ(norm_of({0x1p+100, 0x1p+100}, DType::f32), 0x1p+201);
  EXPECT_EQ(norm_of({0x1p-100, 0x1p-100}, DType::f32), 0x1p-199);
}

TEST(NormSquared, SeesEveryElementThatIsNotFinite) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity()}) {
    for (const std::size_t place : {std::size_t{0}, std::size_t{40000}, std::size_t{69999}}) {
      std::vector<double> values(70000, 1.0);
      values[place] = bad;
      EXPECT_FALSE(std::isfinite(norm_of(values, DType::f32))) << bad << " at " << place;
      EXPECT_FALSE(std::isfinite(norm_of(values, DType::f64))) << bad << " at " << place;
    }
  }
}

double scale_of(double norm_squared, double max_norm, DType dtype = DType::f64) {
  const device::Device device = device_of(dtype);
  const GuardedTensor squared(DType::f64, {1}, device);
  squared.set({norm_squared});
  const GuardedTensor scale(dtype, {1}, device);
  Stream stream(device);
  clip_scale(stream, scale.tensor(), squared.tensor(), max_norm);
  stream.synchronize();
  EXPECT_TRUE(scale.guards_intact());
  return scale.get()[0];
}

TEST(ClipScale, BringsTheNormToTheLimit) {
  EXPECT_EQ(scale_of(4.0, 1.0), 0.5);
  EXPECT_EQ(scale_of(4.0, 1.0, DType::f32), 0.5);
  EXPECT_EQ(scale_of(0.25, 1.0), 1.0);
  EXPECT_EQ(scale_of(1.0, 1.0), 1.0);
  EXPECT_EQ(scale_of(0.0, 1.0), 1.0);
  EXPECT_EQ(scale_of(1e6, 0.0), 1.0) << "0 means no clipping";
}

TEST(ClipScale, IsNanWhenTheNormIsNotFinite) {
  for (const double max_norm : {0.0, 1.0}) {
    EXPECT_TRUE(std::isnan(scale_of(std::numeric_limits<double>::quiet_NaN(), max_norm)));
    EXPECT_TRUE(std::isnan(scale_of(std::numeric_limits<double>::infinity(), max_norm)));
    EXPECT_TRUE(
        std::isnan(scale_of(std::numeric_limits<double>::infinity(), max_norm, DType::f32)));
  }
}

TEST(ClipScale, RefusesANegativeLimit) { EXPECT_THROW(scale_of(1.0, -1.0), base::Error); }

}  // namespace
}  // namespace ssmax::kernels
