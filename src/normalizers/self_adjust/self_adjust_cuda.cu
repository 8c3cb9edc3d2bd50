#include "kernels/attention/attention_cuda.cuh"
#include "normalizers/self_adjust/self_adjust.h"

namespace ssmax::kernels::cuda {

using normalizers::self_adjust::Variant;
using normalizers::self_adjust::Weighting;

template struct AttentionOf<Weighting<Variant::plain>>;
template struct AttentionOf<Weighting<Variant::shifted>>;
template struct AttentionOf<Weighting<Variant::min_max>>;
template struct AttentionOf<Weighting<Variant::normalized>>;

}  // namespace ssmax::kernels::cuda
