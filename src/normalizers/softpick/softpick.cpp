#include "normalizers/softpick/softpick.h"

#include "base/section.h"
#include "kernels/attention/attention_cpu.h"
#include "kernels/attention/normalizer_of.h"
#include "normalizers/registry.h"

namespace ssmax::normalizers::softpick {

NormalizerEntry entry() {
  using Normalizer = kernels::NormalizerOf<kernels::UnitLength, Weighting>;
  return {
      .kind = "softpick",
      .help = "Rectified softmax: no weight for negative scores, no attention sink",
      .formula = "w_j = max(e^(z_j) - 1, 0) / sum_k |e^(z_k) - 1|",
      .source = "Zuhri et al. 2025, arXiv 2504.20966",
      .options = &base::make_section<Options>,
      .make = [](const base::AnySection&) -> std::unique_ptr<kernels::AttentionNormalizer> {
        return std::make_unique<Normalizer>(kernels::RowScale<kernels::UnitLength>{}, Weighting{});
      },
  };
}

}  // namespace ssmax::normalizers::softpick
