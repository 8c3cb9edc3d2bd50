#include "kernels/linear/gelu.h"

#include "kernels/linear/gelu_launch.h"

namespace ssmax::kernels {

void gelu(Stream& stream, const Tensor& out, const ConstTensor& x) {
  require_floating(x, "gelu: x");
  require_dtype(out, x.dtype(), "gelu: out");
  require_shape(out, x.shape(), "gelu: out");
  launch<cpu::gelu, cuda::gelu>(stream, out, x);
}

void gelu_backward(Stream& stream, const Tensor& dx, const ConstTensor& dout,
                   const ConstTensor& x) {
  require_floating(x, "gelu_backward: x");
  require_dtype(dx, x.dtype(), "gelu_backward: dx");
  require_shape(dx, x.shape(), "gelu_backward: dx");
  require_dtype(dout, x.dtype(), "gelu_backward: dout");
  require_shape(dout, x.shape(), "gelu_backward: dout");
  launch<cpu::gelu_backward, cuda::gelu_backward>(stream, dx, dout, x);
}

}  // namespace ssmax::kernels
