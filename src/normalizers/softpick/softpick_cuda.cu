#include "kernels/attention/attention_cuda.cuh"
#include "normalizers/softpick/softpick.h"

namespace ssmax::kernels::cuda {

template struct AttentionOf<normalizers::softpick::Weighting>;

}  // namespace ssmax::kernels::cuda
