#include "normalizers/log_n/log_n.h"

#include "base/section.h"
#include "kernels/attention/normalizer_of.h"
#include "kernels/attention/row_scale_cpu.h"
#include "normalizers/registry.h"

namespace ssmax::normalizers::log_n {

NormalizerEntry entry() {
  using Normalizer = kernels::NormalizerOf<Length, kernels::SoftmaxWeighting>;
  return {
      .kind = "log_n",
      .help = "Scores grow with ln n beyond the training length",
      .formula = "w = softmax(c z), c = ln n / ln train_length for n > train_length, else 1",
      .source = "Su 2021; Qwen (Alibaba 2023)",
      .options = &base::make_section<Options>,
      .make = [](const base::AnySection& section) -> std::unique_ptr<kernels::AttentionNormalizer> {
        const auto& options = section.get<Options>();
        return std::make_unique<Normalizer>(
            kernels::RowScale<Length>{.length = {options.train_length}},
            kernels::SoftmaxWeighting{});
      },
  };
}

}  // namespace ssmax::normalizers::log_n
