#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/attention/normalizer.h"
#include "kernels/attention/row_scale.h"

/// The row scale as an op: c (B, H, T) from the parameters, and their gradients from dc. Parameters
/// are "scale" (H), "bias" (H), "length_scale" (N), each only when learned.
namespace ssmax::kernels {

template <class Length>
std::vector<NormalizerParameter> row_scale_parameters(const RowScale<Length>& scale) {
  using Parameter = NormalizerParameter;
  std::vector<Parameter> all;
  if (scale.learn_scale) all.push_back({.name = "scale", .value = scale.initial_scale});
  if (scale.bias) all.push_back({.name = "bias", .value = scale.initial_bias});
  if constexpr (!LengthFunction<Length>) {
    all.push_back({.name = "length_scale",
                   .owner = Parameter::Owner::length,
                   .init = Parameter::Init::log_length});
  }
  return all;
}

/// a1 ln n + a2 fitted to a table p_1 .. p_N by least squares, every n with equal weight.
struct LogFit {
  double slope = 0.0;
  double offset = 0.0;

  double at(std::int64_t n) const { return slope * std::log(static_cast<double>(n)) + offset; }
};
LogFit fit_logarithm(std::span<const double> table);

namespace cpu {

template <class Length>
void row_scale(Stream& stream, const Tensor& c, std::span<const ConstTensor> parameters,
               const RowLengths& lengths, const RowScale<Length>& scale);
template <class Length>
void row_scale_backward(Stream& stream, std::span<const Tensor> gradients, const ConstTensor& dc,
                        std::span<const ConstTensor> parameters, const RowLengths& lengths,
                        const RowScale<Length>& scale);

}  // namespace cpu

namespace cuda {

template <class Length>
[[gnu::weak]] void row_scale(Stream& stream, const Tensor& c,
                             std::span<const ConstTensor> parameters, const RowLengths& lengths,
                             const RowScale<Length>& scale);
template <class Length>
[[gnu::weak]] void row_scale_backward(Stream& stream, std::span<const Tensor> gradients,
                                      const ConstTensor& dc,
                                      std::span<const ConstTensor> parameters,
                                      const RowLengths& lengths, const RowScale<Length>& scale);

}  // namespace cuda

/// Throws Error(usage) unless c (B, H, T), the parameters and the lengths fit together.
void check_row_scale(const ConstTensor& c, std::span<const ConstTensor> parameters,
                     std::size_t head_parameters, const RowLengths& lengths);

/// c of every row. Overwrites.
template <class Length>
void compute_row_scale(Stream& stream, const Tensor& c, std::span<const ConstTensor> parameters,
                       const RowLengths& lengths, const RowScale<Length>& scale) {
  check_row_scale(c, parameters, std::size_t{scale.learn_scale} + std::size_t{scale.bias}, lengths);
  launch<cpu::row_scale<Length>, cuda::row_scale<Length>>(stream, c, parameters, lengths, scale);
}

/// gradients += from dc. With a learned table, rows longer than it are Error(usage); on a GPU,
/// which does not tell the documents' lengths, that is T.
template <class Length>
void differentiate_row_scale(Stream& stream, std::span<const Tensor> gradients,
                             const ConstTensor& dc, std::span<const ConstTensor> parameters,
                             const RowLengths& lengths, const RowScale<Length>& scale) {
  check_row_scale(dc, parameters, std::size_t{scale.learn_scale} + std::size_t{scale.bias},
                  lengths);
  launch<cpu::row_scale_backward<Length>, cuda::row_scale_backward<Length>>(
      stream, gradients, dc, parameters, lengths, scale);
}

}  // namespace ssmax::kernels
