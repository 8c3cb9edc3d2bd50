#pragma once

#include <span>
#include <vector>

namespace ssmax::evaluation {

/// slope ln n + offset fitted to a table p_1 .. p_N, with standard errors for independent
/// residuals.
struct LogFitReport {
  double slope = 0.0;
  double slope_error = 0.0;
  double offset = 0.0;
  double offset_error = 0.0;
  double r_squared = 0.0;
  double root_mean_square = 0.0;  ///< of the residuals
};
LogFitReport fit_log(std::span<const double> table);

}  // namespace ssmax::evaluation
