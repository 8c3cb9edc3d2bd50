#include "device/dtype.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include "device/vector_math.h"

namespace ssmax::device {
namespace {

TEST(Bf16, EveryValueSurvivesTheWayThroughFloat) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    Bf16 value;
    value.bits = static_cast<std::uint16_t>(bits);
    const auto wide = static_cast<float>(value);
    const Bf16 back(wide);
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(static_cast<float>(back))) << bits;
    } else {
      EXPECT_EQ(back.bits, bits);
    }
  }
}

TEST(Bf16, RoundsToNearestTiesToEven) {
  // Between neighbors a < b of bf16: below the middle to a, above to b, at the middle to the even.
  for (std::uint32_t upper = 0; upper < 0x7f80; upper += 7) {
    const auto rounded = [&](std::uint32_t lower) {
      return Bf16(std::bit_cast<float>(upper << 16 | lower)).bits;
    };
    EXPECT_EQ(rounded(0x0000), upper);
    EXPECT_EQ(rounded(0x7fff), upper);
    EXPECT_EQ(rounded(0x8000), upper + (upper & 1U));
    EXPECT_EQ(rounded(0x8001), upper + 1);
  }
}

TEST(Bf16, KeepsSpecialValues) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Bf16(infinity).bits, 0x7f80);
  EXPECT_EQ(Bf16(-infinity).bits, 0xff80);
  EXPECT_EQ(Bf16(-0.0F).bits, 0x8000);
  EXPECT_EQ(Bf16(std::numeric_limits<float>::max()).bits, 0x7f80) << "rounds up to infinity";
  // A NaN whose bits are all in the lower half must not become infinity.
  const float low_nan = std::bit_cast<float>(0x7f800001U);
  EXPECT_TRUE(std::isnan(static_cast<float>(Bf16(low_nan))));
  const float full_nan = std::bit_cast<float>(0x7fffffffU);
  EXPECT_TRUE(std::isnan(static_cast<float>(Bf16(full_nan))));
}

TEST(DType, SizesNamesAndAccumulators) {
  EXPECT_EQ(size_of(DType::bf16), 2);
  EXPECT_EQ(size_of(DType::f64), 8);
  EXPECT_EQ(name_of(DType::i32), "i32");
  EXPECT_EQ(accumulator_dtype(DType::bf16), DType::f32);
  EXPECT_EQ(accumulator_dtype(DType::f64), DType::f64);
  static_assert(std::is_same_v<Accumulator<Bf16>, float>);
  static_assert(std::is_same_v<Accumulator<double>, double>);
}

TEST(DType, DispatchGivesTheTypeOfTheDtype) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    EXPECT_EQ(dispatch(dtype, []<class T>(Tag<T>) { return kDTypeOf<T>; }), dtype);
  }
}

TEST(VectorExp, StaysWithinItsStatedError) {
  double worst = 0.0;
  for (int i = -86000; i < 88000; ++i) {
    const float x = static_cast<float>(i) * 1e-3F;
    const double exact = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(static_cast<double>(vector_exp(x)) - exact) / exact);
  }
  EXPECT_LT(worst, 2e-7);  // what device/vector_math.h promises
  EXPECT_EQ(vector_exp(0.0F), 1.0F);
}

TEST(VectorExp, ClampsFarValues) {
  EXPECT_GE(vector_exp(-1e30F), 0.0F);
  EXPECT_LT(vector_exp(-1e30F), 1e-37F);
  EXPECT_LT(vector_exp(-std::numeric_limits<float>::infinity()), 1e-37F);
  EXPECT_EQ(vector_exp(1e30F), vector_exp(88.0F));
  EXPECT_TRUE(std::isfinite(vector_exp(88.0F)));
}

}  // namespace
}  // namespace ssmax::device
