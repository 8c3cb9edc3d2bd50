#include "kernels/cross_entropy/cross_entropy.h"

#include "kernels/cross_entropy/cross_entropy_launch.h"

namespace ssmax::kernels {

namespace {

void check(const ConstTensor& losses, const ConstTensor& logits, const ConstTensor& targets,
           std::int64_t vocabulary) {
  require_floating(logits, "cross_entropy: logits");
  require_dtype(losses, device::accumulator_dtype(logits.dtype()), "cross_entropy: losses");
  require_dtype(targets, DType::i32, "cross_entropy: targets");
  require(losses.elements() == row_count(logits) && targets.elements() == row_count(logits),
          "cross_entropy: one loss and one target for every row of logits");
  require(vocabulary >= 1 && vocabulary <= row_size(logits),
          "cross_entropy: the vocabulary must fit the rows of logits");
}

}  // namespace

void cross_entropy(Stream& stream, const Tensor& losses, const ConstTensor& logits,
                   const ConstTensor& targets, std::int64_t vocabulary) {
  check(losses, logits, targets, vocabulary);
  launch<cpu::cross_entropy, cuda::cross_entropy>(stream, losses, logits, targets, vocabulary);
}

void cross_entropy_with_gradient(Stream& stream, const Tensor& losses, const Tensor& logits,
                                 const ConstTensor& targets, std::int64_t vocabulary,
                                 double scale) {
  check(losses, logits, targets, vocabulary);
  launch<cpu::cross_entropy_with_gradient, cuda::cross_entropy_with_gradient>(
      stream, losses, logits, targets, vocabulary, scale);
}

}  // namespace ssmax::kernels
