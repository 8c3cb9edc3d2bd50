#pragma once

#include <cuda.h>

#include <cstdint>

#include "device/dtype.h"

namespace ssmax::device {

/// What the tensor memory accelerator of compute capability 9.0 needs to know of a tensor to copy
/// boxes of it; a kernel takes it as a __grid_constant__ argument.
struct TensorMap {
  CUtensorMap encoded;
};

/// (sequences, rows, heads, columns) of bf16 in device memory; strides in elements.
struct MappedTensor {
  const Bf16* data = nullptr;
  std::int64_t sequences = 0;
  std::int64_t rows = 0;
  std::int64_t heads = 0;
  std::int64_t columns = 0;
  std::int64_t sequence_stride = 0;
  std::int64_t row_stride = 0;
  std::int64_t head_stride = 0;
};

/// Boxes of 64 columns and `box_rows` rows, at most 256, of one head, as tiles of
/// device/warpgroup.cuh. Address and strides are multiples of 16 bytes. Error(device) when the
/// driver refuses.
TensorMap tensor_map(const MappedTensor& tensor, int box_rows);

}  // namespace ssmax::device
