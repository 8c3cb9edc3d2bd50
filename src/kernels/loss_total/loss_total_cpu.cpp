#include "kernels/loss_total/loss_total_launch.h"

namespace ssmax::kernels::cpu {

void add_loss_total(Stream& /*stream*/, const Tensor& total, const ConstTensor& losses,
                    const ConstTensor& targets) {
  double sum = 0.0;
  double count = 0.0;
  const std::int32_t* target = targets.data<std::int32_t>();
  device::dispatch(losses.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* loss = losses.data<T>();
    for (std::int64_t row = 0; row < losses.elements(); ++row) {
      sum += static_cast<double>(loss[row]);
      count += target[row] >= 0 ? 1.0 : 0.0;
    }
  });
  total.data<double>()[0] += sum;
  total.data<double>()[1] += count;
}

}  // namespace ssmax::kernels::cpu
