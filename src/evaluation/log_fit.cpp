#include "evaluation/log_fit.h"

#include <cmath>
#include <numeric>

#include "kernels/attention/row_scale_op.h"

namespace ssmax::evaluation {

LogFitReport fit_log(std::span<const double> table) {
  const kernels::LogFit fit = kernels::fit_logarithm(table);
  LogFitReport report;
  report.slope = fit.slope;
  report.offset = fit.offset;
  const auto count = static_cast<double>(table.size());
  const double mean = std::accumulate(table.begin(), table.end(), 0.0) / count;
  double mean_log = 0.0;
  for (std::size_t n = 1; n <= table.size(); ++n) {
    mean_log += std::log(static_cast<double>(n)) / count;
  }
  double residual = 0.0;
  double total = 0.0;
  double spread = 0.0;
  for (std::size_t n = 1; n <= table.size(); ++n) {
    const double p = table[n - 1];
    const double error = p - fit.at(static_cast<std::int64_t>(n));
    const double log_n = std::log(static_cast<double>(n)) - mean_log;
    residual += error * error;
    total += (p - mean) * (p - mean);
    spread += log_n * log_n;
  }
  report.root_mean_square = std::sqrt(residual / count);
  report.r_squared = total > 0.0 ? 1.0 - residual / total : 1.0;
  if (table.size() > 2 && spread > 0.0) {
    const double variance = residual / (count - 2.0);
    report.slope_error = std::sqrt(variance / spread);
    report.offset_error = std::sqrt(variance * (1.0 / count + mean_log * mean_log / spread));
  }
  return report;
}

}  // namespace ssmax::evaluation
