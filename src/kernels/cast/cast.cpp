#include "kernels/cast/cast.h"

#include "kernels/cast/cast_launch.h"

namespace ssmax::kernels {

void cast(Stream& stream, const Tensor& out, const ConstTensor& x) {
  require_floating(out, "cast: out");
  require_floating(x, "cast: x");
  require(out.elements() == x.elements(), "cast: out and x must have as many elements");
  launch<cpu::cast, cuda::cast>(stream, out, x);
}

void add(Stream& stream, const Tensor& out, const ConstTensor& a, const ConstTensor& b) {
  require_floating(out, "add: out");
  require_dtype(a, out.dtype(), "add: a");
  require_dtype(b, out.dtype(), "add: b");
  require(a.elements() == out.elements() && b.elements() == out.elements(),
          "add: out, a and b must have as many elements");
  launch<cpu::add, cuda::add>(stream, out, a, b);
}

}  // namespace ssmax::kernels
