#include "kernels/swiglu/swiglu.h"

#include "kernels/swiglu/swiglu_launch.h"

namespace ssmax::kernels {

void swiglu(Stream& stream, const Tensor& out, const ConstTensor& gate_up) {
  require_floating(out, "swiglu: out");
  require_matrix(gate_up, row_count(out), 2 * row_size(out), out.dtype(), "swiglu: gate_up");
  launch<cpu::swiglu, cuda::swiglu>(stream, out, gate_up);
}

void swiglu_backward(Stream& stream, const Tensor& dgate_up, const ConstTensor& dout,
                     const ConstTensor& gate_up) {
  require_floating(dout, "swiglu_backward: dout");
  require_matrix(gate_up, row_count(dout), 2 * row_size(dout), dout.dtype(),
                 "swiglu_backward: gate_up");
  require_matrix(dgate_up, row_count(dout), 2 * row_size(dout), dout.dtype(),
                 "swiglu_backward: dgate_up");
  launch<cpu::swiglu_backward, cuda::swiglu_backward>(stream, dgate_up, dout, gate_up);
}

}  // namespace ssmax::kernels
