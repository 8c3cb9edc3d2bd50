#include "normalizers/sigmoid/sigmoid.h"

#include "base/section.h"
#include "kernels/attention/attention_cpu.h"
#include "kernels/attention/normalizer_of.h"
#include "normalizers/registry.h"

namespace ssmax::normalizers::sigmoid {

NormalizerEntry entry() {
  using Normalizer = kernels::NormalizerOf<kernels::UnitLength, Weighting>;
  return {
      .kind = "sigmoid",
      .help = "Sigmoid attention: every key on its own",
      .formula = "w_j = 1 / (1 + e^-(z_j - ln n))",
      .source = "Ramapuram et al. 2024, arXiv 2409.04431",
      .options = &base::make_section<Options>,
      .make = [](const base::AnySection&) -> std::unique_ptr<kernels::AttentionNormalizer> {
        return std::make_unique<Normalizer>(kernels::RowScale<kernels::UnitLength>{}, Weighting{});
      },
  };
}

}  // namespace ssmax::normalizers::sigmoid
