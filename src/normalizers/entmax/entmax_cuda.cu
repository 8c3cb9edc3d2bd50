#include "kernels/attention/attention_cuda.cuh"
#include "normalizers/entmax/entmax.h"

namespace ssmax::kernels::cuda {

template struct AttentionOf<normalizers::entmax::Weighting>;

}  // namespace ssmax::kernels::cuda
