#include "kernels/rope/rope.h"

#include "base/errors.h"
#include "support/op_case.h"

namespace ssmax::kernels {
namespace {

using namespace ssmax::testing;

struct Size {
  std::int64_t B, T, heads_in_row, heads, D;
};
constexpr Size kSizes[] = {
    {1, 1, 1, 1, 2}, {2, 5, 3, 2, 6}, {1, 33, 4, 4, 64}, {2, 40, 6, 4, 34}, {2, 3, 2, 0, 8}};

// Two products and a sum: three roundings of at most sqrt(2) of the largest value.
constexpr double kRoundings = 5.0;

TEST(Rope, AgreesWithDouble) {
  for (const Turn turn : {Turn::forward, Turn::backward}) {
    for (const auto [B, T, heads_in_row, heads, D] : kSizes) {
      check_op({turn == Turn::forward ? "rope" : "rope back",
                {{"x", {B, T, heads_in_row, D}, Role::updated, Type::activation, {}, kRoundings},
                 {"table", {T + 7, D}, Role::input, Type::statistic}},
                [turn, heads = heads](Stream& stream, std::span<const Tensor> t) {
                  rope(stream, t[0], t[1], heads, 7, turn);
                }});
    }
  }
}

TEST(Rope, TableHoldsCosinesAndSines) {
  // The angle of the last row is near 100000: in single precision it would be off by 4e-3.
  constexpr std::int64_t kRows = 100001;
  const GuardedTensor table(DType::f32, {kRows, 4});
  Stream stream;
  rope_table(stream, table.tensor(), 100.0);
  EXPECT_TRUE(table.guards_intact());
  const std::vector<double> found = table.get();
  for (const std::int64_t p : {std::int64_t{0}, std::int64_t{1}, std::int64_t{77}, kRows - 1}) {
    const auto row = static_cast<std::size_t>(4 * p);
    const auto position = static_cast<double>(p);
    // theta^(-2 i / D) = 1, 1 / 10. One rounding to f32; the angle in double is off by 1e-11.
    EXPECT_NEAR(found[row], std::cos(position), 0x1p-24);
    EXPECT_NEAR(found[row + 1], std::cos(position / 10.0), 0x1p-24);
    EXPECT_NEAR(found[row + 2], std::sin(position), 0x1p-24);
    EXPECT_NEAR(found[row + 3], std::sin(position / 10.0), 0x1p-24);
  }
}

// The pairing of Llama: (1, 0) in dimensions (i, i + D/2) becomes (cos, sin).
TEST(Rope, TurnsThePairOfHalves) {
  const GuardedTensor table(DType::f64, {4, 4});
  const GuardedTensor x(DType::f64, {1, 1, 1, 4});
  x.set({1.0, 0.0, 0.0, 0.0});
  Stream stream;
  rope_table(stream, table.tensor(), 10000.0);
  rope(stream, x.tensor(), table.tensor(), 1, 3, Turn::forward);
  EXPECT_NEAR(x.get()[0], std::cos(3.0), 1e-15);
  EXPECT_EQ(x.get()[1], 0.0);
  EXPECT_NEAR(x.get()[2], std::sin(3.0), 1e-15);
  EXPECT_EQ(x.get()[3], 0.0);
}

// A rotation keeps dot products, so turning back is both inverse and gradient.
TEST(Rope, TurningBackIsTheGradient) {
  const GuardedTensor table(DType::f64, {9, 6});
  const GuardedTensor x = f64_normal({2, 4, 3, 6}, 3, 0);
  const GuardedTensor dy = f64_normal({2, 4, 3, 6}, 3, 1);
  const GuardedTensor y(DType::f64, {2, 4, 3, 6});
  const GuardedTensor dx = f64_tensor({2, 4, 3, 6}, dy.get());
  Stream stream;
  rope_table(stream, table.tensor(), 10000.0);
  rope(stream, dx.tensor(), table.tensor(), 2, 5, Turn::backward);
  check_gradient("dx", dx, x, [&] {
    y.set(x.get());
    rope(stream, y.tensor(), table.tensor(), 2, 5, Turn::forward);
    return dot(y, dy);
  });
}

TEST(Rope, RefusesPositionsBeyondTheTable) {
  const GuardedTensor table(DType::f32, {4, 6});
  const GuardedTensor x(DType::f32, {1, 3, 2, 6});
  Stream stream;
  EXPECT_THROW(rope(stream, x.tensor(), table.tensor(), 2, 2, Turn::forward), base::Error);
  EXPECT_THROW(rope(stream, x.tensor(), table.tensor(), 3, 0, Turn::forward), base::Error);
  EXPECT_THROW(rope_table(stream, table.tensor(), 0.0), base::Error);
}

}  // namespace
}  // namespace ssmax::kernels
