#include "kernels/embedding/embedding.h"

#include <string>

#include "base/errors.h"
#include "kernels/embedding/embedding_launch.h"

namespace ssmax::kernels {

namespace {

void check_tokens(const ConstTensor& tokens, const ConstTensor& rows) {
  require_dtype(tokens, DType::i32, "embedding: tokens");
  require(tokens.shape().rank() == 2, "embedding: tokens must be (B, T)");
  require(row_count(rows) == tokens.elements(), "embedding: one row for every token");
}

void check_table(const ConstTensor& table, std::int64_t channels, DType dtype, const char* what) {
  require_dtype(table, dtype, what);
  require(table.shape().rank() == 2, "embedding: a table must have two axes");
  require_shape(table, {table.extent(0), channels}, what);
}

}  // namespace

void embedding(Stream& stream, const Tensor& out, const ConstTensor& tokens,
               const ConstTensor& token_table, const ConstTensor& position_table,
               std::int64_t first_position) {
  require_floating(out, "embedding: out");
  check_tokens(tokens, out);
  check_table(token_table, row_size(out), out.dtype(), "embedding: token_table");
  if (!position_table.empty()) {
    check_table(position_table, row_size(out), out.dtype(), "embedding: position_table");
    require(first_position >= 0, "embedding: first_position must be at least 0");
    const std::int64_t length = first_position + tokens.extent(1);
    if (length > position_table.extent(0)) {
      throw base::Error(base::ErrorKind::usage,
                        "the model learned positions for " +
                            std::to_string(position_table.extent(0)) + " tokens, a sequence of " +
                            std::to_string(length) + " was asked for; take a shorter one");
    }
  }
  launch<cpu::embedding, cuda::embedding>(stream, out, tokens, token_table, position_table,
                                          first_position);
}

void embedding_backward(Stream& stream, const Tensor& token_gradient,
                        const Tensor& position_gradient, const ConstTensor& tokens,
                        const ConstTensor& dout) {
  require_floating(dout, "embedding_backward: dout");
  check_tokens(tokens, dout);
  const DType gradients = device::accumulator_dtype(dout.dtype());
  check_table(token_gradient, row_size(dout), gradients, "embedding_backward: token_gradient");
  if (!position_gradient.empty()) {
    check_table(position_gradient, row_size(dout), gradients,
                "embedding_backward: position_gradient");
    require(tokens.extent(1) <= position_gradient.extent(0),
            "embedding_backward: the sequence is longer than the table of learned positions");
  }
  launch<cpu::embedding_backward, cuda::embedding_backward>(stream, token_gradient,
                                                            position_gradient, tokens, dout);
}

}  // namespace ssmax::kernels
