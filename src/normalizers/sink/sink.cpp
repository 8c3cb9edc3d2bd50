#include "normalizers/sink/sink.h"

#include "base/section.h"
#include "kernels/attention/attention_cpu.h"
#include "kernels/attention/normalizer_of.h"
#include "normalizers/registry.h"

namespace ssmax::normalizers::sink {

namespace {

std::unique_ptr<kernels::AttentionNormalizer> make(const base::AnySection& section) {
  const auto& options = section.get<Options>();
  std::vector<kernels::NormalizerParameter> own;
  if (options.learned) own.push_back({.name = "sink", .value = options.initial_sink});
  return kernels::make_scaled(options.scale, Weighting(options.initial_sink), std::move(own));
}

}  // namespace

NormalizerEntry entry() {
  return {
      .kind = "sink",
      .help = "Softmax with one more logit per head that takes weight and has no value",
      .formula = "w_j = e^(x_j) / (e^a + sum_k e^(x_k))",
      .source = "Xiao et al. 2023, Miller 2023 (a = 0), gpt-oss 2025 (learned)",
      .options = &base::make_section<Options>,
      .make = &make,
  };
}

}  // namespace ssmax::normalizers::sink
