#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/errors.h"
#include "kernels/attention/row_scale_op.h"

namespace ssmax {
namespace {

TEST(LogFit, RecoversALogarithm) {
  std::vector<double> table;
  for (int n = 1; n <= 300; ++n) table.push_back(0.4 * std::log(n) - 0.7);
  const kernels::LogFit fit = kernels::fit_logarithm(table);
  EXPECT_NEAR(fit.slope, 0.4, 1e-12);
  EXPECT_NEAR(fit.offset, -0.7, 1e-12);
  EXPECT_NEAR(fit.at(5000), 0.4 * std::log(5000.0) - 0.7, 1e-11);
}

TEST(LogFit, OfOneValueIsThatValue) {
  const std::vector<double> table = {2.5};
  EXPECT_EQ(kernels::fit_logarithm(table).at(100), 2.5);
}

}  // namespace
}  // namespace ssmax
