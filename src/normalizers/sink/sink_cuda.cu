#include "kernels/attention/attention_cuda.cuh"
#include "normalizers/sink/sink.h"

namespace ssmax::kernels::cuda {

template struct AttentionOf<normalizers::sink::Weighting>;

}  // namespace ssmax::kernels::cuda
