#include "kernels/attention/row_scale_cuda.cuh"

namespace ssmax::kernels::cuda {

// The weighting is that of softmax.
template struct RowScaleOf<LogLength>;

}  // namespace ssmax::kernels::cuda
