#include "normalizers/learned_length/learned_length.h"

#include "base/section.h"
#include "kernels/attention/normalizer_of.h"
#include "kernels/attention/row_scale_cpu.h"
#include "normalizers/registry.h"

namespace ssmax::normalizers::learned_length {

NormalizerEntry entry() {
  using Normalizer = kernels::NormalizerOf<kernels::LearnedLength, kernels::SoftmaxWeighting>;
  return {
      .kind = "learned_length",
      .help = "A learned scale for every number of keys, shared by layers and heads",
      .formula = "w = softmax((s p_n + b) z), p_n learned, ln n at the start",
      .source = "Nakanishi 2025, arXiv 2501.19399, section 2.1",
      .options = &base::make_section<Options>,
      .make = [](const base::AnySection& section) -> std::unique_ptr<kernels::AttentionNormalizer> {
        const auto& options = section.get<Options>();
        return std::make_unique<Normalizer>(
            kernels::RowScale<kernels::LearnedLength>{
                .learn_scale = true,
                .bias = options.bias,
                .initial_scale = kernels::initial_scale_or_one(options.initial_scale),
                .initial_bias = options.initial_bias},
            kernels::SoftmaxWeighting{});
      },
  };
}

}  // namespace ssmax::normalizers::learned_length
