#include "kernels/rope/rope.h"

#include "kernels/rope/rope_launch.h"

namespace ssmax::kernels {

void rope_table(Stream& stream, const Tensor& table, double theta) {
  require(table.dtype() == DType::f32 || table.dtype() == DType::f64,
          "rope_table: table must be f32 or f64");
  require(table.shape().rank() == 2 && table.extent(1) % 2 == 0,
          "rope_table: table must be (P, D) with an even D");
  require(theta > 0.0, "rope_table: theta must be positive");
  launch<cpu::rope_table, cuda::rope_table>(stream, table, theta);
}

void rope(Stream& stream, const Tensor& x, const ConstTensor& table, std::int64_t heads,
          std::int64_t first_position, Turn turn) {
  require_floating(x, "rope: x");
  require(x.shape().rank() == 4 && x.extent(3) % 2 == 0, "rope: x must be (B, T, H, D), D even");
  require(0 <= heads && heads <= x.extent(2), "rope: more heads than the row has");
  require_dtype(table, device::accumulator_dtype(x.dtype()), "rope: table");
  require(table.shape().rank() == 2 && table.extent(1) == x.extent(3),
          "rope: table must be (P, D) with the D of x");
  require(first_position >= 0 && first_position + x.extent(1) <= table.extent(0),
          "rope: positions beyond the end of the table");
  launch<cpu::rope, cuda::rope>(stream, x, table, heads, first_position, turn);
}

}  // namespace ssmax::kernels
