#include "kernels/attention/attention_cuda.cuh"
#include "kernels/attention/row_scale_cuda.cuh"

namespace ssmax::kernels::cuda {

template struct AttentionOf<SoftmaxWeighting>;
template struct RowScaleOf<UnitLength>;

}  // namespace ssmax::kernels::cuda
