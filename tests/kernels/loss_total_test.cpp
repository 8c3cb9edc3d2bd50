#include "kernels/loss_total/loss_total.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/errors.h"

namespace ssmax::kernels {
namespace {

TEST(LossTotal, AddsLossesAndCountsTargets) {
  Stream stream;
  std::vector<double> total = {10.0, 3.0};
  const std::vector<float> losses = {1.5F, 0.0F, 2.25F};
  const std::vector<std::int32_t> targets = {4, -1, 0};
  add_loss_total(stream, device::view(total.data(), {2}), device::view(losses.data(), {3}),
                 device::view(targets.data(), {3}));
  EXPECT_EQ(total, (std::vector<double>{13.75, 5.0}));  // exact in binary
  EXPECT_THROW(add_loss_total(stream, device::view(total.data(), {2}),
                              device::view(losses.data(), {3}), device::view(targets.data(), {2})),
               base::Error);
}

}  // namespace
}  // namespace ssmax::kernels
