#include "kernels/loss_total/loss_total.h"

#include "kernels/loss_total/loss_total_launch.h"

namespace ssmax::kernels {

void add_loss_total(Stream& stream, const Tensor& total, const ConstTensor& losses,
                    const ConstTensor& targets) {
  require_shape(total, {2}, "add_loss_total: total");
  require_dtype(total, DType::f64, "add_loss_total: total");
  require_shape(targets, losses.shape(), "add_loss_total: targets");
  require_dtype(targets, DType::i32, "add_loss_total: targets");
  launch<cpu::add_loss_total, cuda::add_loss_total>(stream, total, losses, targets);
}

}  // namespace ssmax::kernels
