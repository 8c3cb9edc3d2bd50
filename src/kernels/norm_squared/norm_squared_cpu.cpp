#include "kernels/norm_squared/norm_squared_cpu.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/norm_squared/norm_squared_launch.h"
#include "kernels/rows.h"
#include "kernels/workspace.h"

namespace ssmax::kernels::cpu {

void norm_squared(Stream& /*stream*/, const Tensor& out, const ConstTensor& x) {
  const std::int64_t count = x.elements();
  const std::int64_t chunks = base::div_up(count, kElementsPerTask);
  double* partials = workspace<double>(chunks);
  device::dispatch(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* from = x.data<T>();
    device::parallel_for(count, kElementsPerTask, [&](std::int64_t begin, std::int64_t end) {
      partials[begin / kElementsPerTask] = plain::norm_squared(from, begin, end);
    });
  });
  double sum = 0.0;
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) sum += partials[chunk];
  *out.data<double>() = sum;
}

void clip_scale(Stream& /*stream*/, const Tensor& gradient_scale, const ConstTensor& norm_squared,
                double max_norm) {
  const double norm = std::sqrt(*norm_squared.data<double>());
  double scale = 1.0;
  if (!std::isfinite(norm)) {
    scale = std::numeric_limits<double>::quiet_NaN();
  } else if (max_norm > 0.0 && norm > max_norm) {
    scale = max_norm / norm;
  }
  device::dispatch(gradient_scale.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    *gradient_scale.data<T>() = static_cast<T>(scale);
  });
}

}  // namespace ssmax::kernels::cpu
