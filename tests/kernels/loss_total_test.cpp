#include "kernels/loss_total/loss_total.h"

#include "base/errors.h"
#include "support/op_case.h"

namespace ssmax::kernels {
namespace {

using namespace ssmax::testing;

TEST(LossTotal, AddsLossesAndCountsTargets) {
  if (skips_without_gpu()) return;
  const GuardedTensor total(DType::f64, {2}, test_device());
  const GuardedTensor losses(DType::f32, {3}, test_device());
  const GuardedTensor targets(DType::i32, {3}, test_device());
  total.set({10.0, 3.0});
  losses.set({1.5, 0.0, 2.25});
  targets.set({4, -1, 0});
  Stream stream(test_device());
  add_loss_total(stream, total.tensor(), losses.tensor(), targets.tensor());
  stream.synchronize();
  EXPECT_EQ(total.get(), (std::vector<double>{13.75, 5.0}));  // exact in binary
  EXPECT_TRUE(total.guards_intact());
  EXPECT_THROW(add_loss_total(stream, total.tensor(), losses.tensor(), targets.tensor().rows(0, 2)),
               base::Error);
}

TEST(LossTotal, AgreesWithDouble) {
  // Sums in double in any order: far below one rounding of f32.
  for (const std::int64_t rows : {1, 1000, 5003}) {
    std::vector<double> targets = token_values(rows, 50, 1, 7);
    for (double& target : targets) target -= 1.0;
    check_op({"add_loss_total",
              {{"total", {2}, Role::updated, Type::exact, {}, 1e-5},
               {"losses", {rows}, Role::input, Type::statistic},
               {"targets", {rows}, Role::input, Type::token, targets}},
              [](Stream& stream, std::span<const Tensor> t) {
                add_loss_total(stream, t[0], t[1], t[2]);
              }});
  }
}

}  // namespace
}  // namespace ssmax::kernels
