#include "normalizers/entmax/entmax.h"

#include "base/section.h"
#include "kernels/attention/attention_cpu.h"
#include "kernels/attention/normalizer_of.h"
#include "normalizers/registry.h"

namespace ssmax::normalizers::entmax {

NormalizerEntry entry() {
  using Normalizer = kernels::NormalizerOf<kernels::UnitLength, Weighting>;
  return {
      .kind = "entmax",
      .help = "Sparse softmax: keys below a threshold weigh exactly 0",
      .formula = "w_j = max((alpha - 1) z_j - t, 0)^(1 / (alpha - 1)), t such that sum_j w_j = 1",
      .source = "Peters, Niculae and Martins 2019, arXiv 1905.05702",
      .options = &base::make_section<Options>,
      .make = [](const base::AnySection& section) -> std::unique_ptr<kernels::AttentionNormalizer> {
        return std::make_unique<Normalizer>(kernels::RowScale<kernels::UnitLength>{},
                                            Weighting{section.get<Options>().alpha});
      },
  };
}

}  // namespace ssmax::normalizers::entmax
