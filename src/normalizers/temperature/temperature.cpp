#include "normalizers/temperature/temperature.h"

#include "base/section.h"
#include "kernels/attention/normalizer_of.h"
#include "kernels/attention/row_scale_cpu.h"
#include "normalizers/registry.h"

namespace ssmax::normalizers::temperature {

NormalizerEntry entry() {
  using Normalizer = kernels::NormalizerOf<Length, kernels::SoftmaxWeighting>;
  return {
      .kind = "temperature",
      .help = "Scores grow with the position in the document, in steps",
      .formula = "w = softmax((1 + beta ln(1 + floor(position / original_length))) z)",
      .source = "Llama 4 (Meta 2025), Ministral 3",
      .options = &base::make_section<Options>,
      .make = [](const base::AnySection& section) -> std::unique_ptr<kernels::AttentionNormalizer> {
        const auto& options = section.get<Options>();
        return std::make_unique<Normalizer>(
            kernels::RowScale<Length>{.length = {options.beta, options.original_length}},
            kernels::SoftmaxWeighting{});
      },
  };
}

}  // namespace ssmax::normalizers::temperature
