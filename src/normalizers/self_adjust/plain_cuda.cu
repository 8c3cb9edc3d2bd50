#include "kernels/attention/attention_cuda.cuh"
#include "normalizers/self_adjust/self_adjust.h"

namespace ssmax::kernels::cuda {

// The variants are sources of their own, which compile side by side.
template struct AttentionOf<
    normalizers::self_adjust::Weighting<normalizers::self_adjust::Variant::plain>>;

}  // namespace ssmax::kernels::cuda
