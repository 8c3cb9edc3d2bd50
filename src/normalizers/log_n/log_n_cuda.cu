#include "kernels/attention/row_scale_cuda.cuh"
#include "normalizers/log_n/log_n.h"

namespace ssmax::kernels::cuda {

// The weighting is that of softmax.
template struct RowScaleOf<normalizers::log_n::Length>;

}  // namespace ssmax::kernels::cuda
