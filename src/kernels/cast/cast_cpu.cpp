#include "kernels/cast/cast_cpu.h"

#include "kernels/cast/cast_launch.h"
#include "kernels/rows.h"

namespace ssmax::kernels::cpu {

void cast(Stream& /*stream*/, const Tensor& out, const ConstTensor& x) {
  device::dispatch(out.dtype(), [&](auto to_tag) {
    device::dispatch(x.dtype(), [&](auto from_tag) {
      using To = typename decltype(to_tag)::type;
      using From = typename decltype(from_tag)::type;
      To* to = out.data<To>();
      const From* from = x.data<From>();
      device::parallel_for(
          x.elements(), kElementsPerTask,
          [&](std::int64_t begin, std::int64_t end) { plain::cast(to, from, begin, end); });
    });
  });
}

void add(Stream& /*stream*/, const Tensor& out, const ConstTensor& a, const ConstTensor& b) {
  device::dispatch(out.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* to = out.data<T>();
    const T* left = a.data<T>();
    const T* right = b.data<T>();
    device::parallel_for(
        out.elements(), kElementsPerTask,
        [&](std::int64_t begin, std::int64_t end) { plain::add(to, left, right, begin, end); });
  });
}

}  // namespace ssmax::kernels::cpu
