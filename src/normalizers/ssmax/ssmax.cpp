#include "normalizers/ssmax/ssmax.h"

#include "base/section.h"
#include "kernels/attention/normalizer_of.h"
#include "normalizers/registry.h"

namespace ssmax::normalizers::ssmax {

NormalizerEntry entry() {
  using Normalizer = kernels::NormalizerOf<kernels::LogLength, kernels::SoftmaxWeighting>;
  return {
      .kind = "ssmax",
      .help = "Scalable-Softmax: scores grow with the logarithm of the number of keys",
      .formula = "w_j = n^(s z_j) / sum_k n^(s z_k), exponent (s ln n + b) z_j",
      .source = "Nakanishi 2025, arXiv 2501.19399",
      .options = &base::make_section<Options>,
      .make = [](const base::AnySection& section) -> std::unique_ptr<kernels::AttentionNormalizer> {
        const auto& options = section.get<Options>();
        return std::make_unique<Normalizer>(
            kernels::RowScale<kernels::LogLength>{
                .learn_scale = options.learn_scale,
                .bias = options.bias,
                .initial_scale = kernels::initial_scale_or_one(options.initial_scale),
                .initial_bias = options.initial_bias},
            kernels::SoftmaxWeighting{});
      },
  };
}

}  // namespace ssmax::normalizers::ssmax
