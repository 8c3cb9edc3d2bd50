#pragma once

#include <string>
#include <vector>

#include "base/errors.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/row_scale_op.h"

namespace ssmax::kernels::cpu {

/// The row scale's parameters by name; an absent one is its constant.
template <class Real, class Length>
struct RowScaleValues {
  RowScaleValues(std::span<const ConstTensor> parameters, const RowScale<Length>& row_scale)
      : scale(row_scale) {
    std::size_t next = 0;
    if (scale.learn_scale) s = parameters[next++].data<Real>();
    if (scale.bias) b = parameters[next++].data<Real>();
    if constexpr (!LengthFunction<Length>) {
      table = std::span(parameters[next].data<Real>(),
                        static_cast<std::size_t>(parameters[next].elements()));
      const std::vector<double> exact(table.begin(), table.end());
      fit = fit_logarithm(exact);
    }
  }

  double length(std::int64_t n) const {
    if constexpr (LengthFunction<Length>) {
      return scale.length(n);
    } else {
      const auto index = static_cast<std::size_t>(n - 1);
      return index < table.size() ? static_cast<double>(table[index]) : fit.at(n);
    }
  }
  double factor(std::int64_t h) const {
    return s == nullptr ? scale.initial_scale : static_cast<double>(s[h]);
  }
  double bias(std::int64_t h) const { return b == nullptr ? 0.0 : static_cast<double>(b[h]); }

  const RowScale<Length>& scale;
  const Real* s = nullptr;
  const Real* b = nullptr;
  std::span<const Real> table;
  LogFit fit;
};

inline std::int64_t row_length(const RowLengths& lengths, std::int64_t b, std::int64_t t) {
  return lengths.first_position + t + 1 - first_visible(lengths.first_key, b, t);
}

template <class Length>
void row_scale(Stream& /*stream*/, const Tensor& c, std::span<const ConstTensor> parameters,
               const RowLengths& lengths, const RowScale<Length>& scale) {
  const auto run = [&]<class Real>(Real* out) {
    const RowScaleValues<Real, Length> values(parameters, scale);
    const std::int64_t heads = c.extent(1);
    for (std::int64_t b = 0; b < lengths.batch; ++b) {
      for (std::int64_t t = 0; t < lengths.time; ++t) {
        const double u = values.length(row_length(lengths, b, t));
        for (std::int64_t h = 0; h < heads; ++h) {
          out[(b * heads + h) * lengths.time + t] =
              static_cast<Real>(values.factor(h) * u + values.bias(h));
        }
      }
    }
  };
  c.dtype() == DType::f64 ? run(c.data<double>()) : run(c.data<float>());
}

/// ds_h += sum u dc, db_h += sum dc, dp_n += s_h dc: sums over rows in their order, in double.
template <class Length>
void row_scale_backward(Stream& /*stream*/, std::span<const Tensor> gradients,
                        const ConstTensor& dc, std::span<const ConstTensor> parameters,
                        const RowLengths& lengths, const RowScale<Length>& scale) {
  if (gradients.empty()) return;
  const auto run = [&]<class Real>(const Real* d) {
    const RowScaleValues<Real, Length> values(parameters, scale);
    std::size_t next = 0;
    Real* ds = scale.learn_scale ? gradients[next++].data<Real>() : nullptr;
    Real* db = scale.bias ? gradients[next++].data<Real>() : nullptr;
    for (std::int64_t h = 0; h < dc.extent(1); ++h) {
      double scale_sum = 0;
      double bias_sum = 0;
      for (std::int64_t b = 0; b < lengths.batch; ++b) {
        const Real* row = d + (b * dc.extent(1) + h) * lengths.time;
        for (std::int64_t t = 0; t < lengths.time; ++t) {
          const std::int64_t n = row_length(lengths, b, t);
          scale_sum += values.length(n) * static_cast<double>(row[t]);
          bias_sum += static_cast<double>(row[t]);
          if constexpr (!LengthFunction<Length>) {
            if (n > static_cast<std::int64_t>(values.table.size())) {
              throw base::Error(base::ErrorKind::usage,
                                "learned_length: a row of " + std::to_string(n) +
                                    " keys is longer than the table of " +
                                    std::to_string(values.table.size()) +
                                    "; train at most at the length that the table was made for");
            }
            gradients[next].template data<Real>()[n - 1] +=
                static_cast<Real>(values.factor(h) * static_cast<double>(row[t]));
          }
        }
      }
      if (ds != nullptr) ds[h] += static_cast<Real>(scale_sum);
      if (db != nullptr) db[h] += static_cast<Real>(bias_sum);
    }
  };
  dc.dtype() == DType::f64 ? run(dc.data<double>()) : run(dc.data<float>());
}

}  // namespace ssmax::kernels::cpu
