#include "normalizers/softmax/softmax.h"

#include "base/section.h"
#include "kernels/attention/normalizer_of.h"
#include "normalizers/registry.h"

namespace ssmax::normalizers::softmax {

NormalizerEntry entry() {
  using Normalizer = kernels::NormalizerOf<kernels::UnitLength, kernels::SoftmaxWeighting>;
  return {
      .kind = "softmax",
      .help = "Softmax of the scores",
      .formula = "w_j = e^(z_j) / sum_k e^(z_k)",
      .source = "Vaswani et al. 2017",
      .options = &base::make_section<Options>,
      .make = [](const base::AnySection&) -> std::unique_ptr<kernels::AttentionNormalizer> {
        return std::make_unique<Normalizer>(kernels::RowScale<kernels::UnitLength>{},
                                            kernels::SoftmaxWeighting{});
      },
  };
}

}  // namespace ssmax::normalizers::softmax
