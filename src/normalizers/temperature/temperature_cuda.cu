#include "kernels/attention/row_scale_cuda.cuh"
#include "normalizers/temperature/temperature.h"

namespace ssmax::kernels::cuda {

// The weighting is that of softmax.
template struct RowScaleOf<normalizers::temperature::Length>;

}  // namespace ssmax::kernels::cuda
