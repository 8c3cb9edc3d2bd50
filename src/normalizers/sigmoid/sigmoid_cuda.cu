#include "kernels/attention/attention_cuda.cuh"
#include "normalizers/sigmoid/sigmoid.h"

namespace ssmax::kernels::cuda {

template struct AttentionOf<normalizers::sigmoid::Weighting>;

}  // namespace ssmax::kernels::cuda
