#include "normalizers/self_adjust/self_adjust.h"

#include "base/section.h"
#include "kernels/attention/attention_cpu.h"
#include "kernels/attention/normalizer_of.h"
#include "normalizers/registry.h"

namespace ssmax::normalizers::self_adjust {

namespace {

template <Variant kVariant>
std::unique_ptr<kernels::AttentionNormalizer> make_variant(const Options& options) {
  return kernels::make_scaled(options.scale, Weighting<kVariant>{});
}

std::unique_ptr<kernels::AttentionNormalizer> make(const base::AnySection& section) {
  const auto& options = section.get<Options>();
  switch (options.variant) {
    case Variant::plain:
      return make_variant<Variant::plain>(options);
    case Variant::shifted:
      return make_variant<Variant::shifted>(options);
    case Variant::min_max:
      return make_variant<Variant::min_max>(options);
    case Variant::normalized:
      break;
  }
  return make_variant<Variant::normalized>(options);
}

}  // namespace

NormalizerEntry entry() {
  return {
      .kind = "self_adjust",
      .help = "Self-Adjust Softmax: probabilities times their own score, which keeps gradients up",
      .formula =
          "w_j = (x_j - low) / (high - low) p_j, p = softmax(x), low = min(min x, 0), "
          "high = max(max x, 0)",
      .source = "Zheng et al. 2025, arXiv 2502.18277",
      .options = &base::make_section<Options>,
      .make = &make,
  };
}

}  // namespace ssmax::normalizers::self_adjust
