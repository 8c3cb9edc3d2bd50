#include <algorithm>
#include <string>

#include "base/checked.h"
#include "base/errors.h"
#include "device/cuda_check.h"
#include "device/tensor_map.h"

namespace ssmax::device {

namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

/// The driver's function, without linking the driver.
Encode find_encode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
#if defined(CUDART_VERSION) && CUDART_VERSION < 12050
  CUDA_CHECK(
      cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &found));
#else
  CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                              cudaEnableDefault, &found));
#endif
  if (found != cudaDriverEntryPointSuccess || function == nullptr) {
    throw base::Error(base::ErrorKind::device,
                      "the driver has no cuTensorMapEncodeTiled; expected one for CUDA 12.0 or "
                      "newer: update the NVIDIA driver");
  }
  return reinterpret_cast<Encode>(function);
}

}  // namespace

TensorMap tensor_map(const MappedTensor& tensor, int box_rows) {
  static const Encode encode = find_encode();
  // From the innermost; the first has no stride.
  const cuuint64_t extents[] = {
      base::narrow<cuuint64_t>(tensor.columns), base::narrow<cuuint64_t>(tensor.heads),
      base::narrow<cuuint64_t>(tensor.rows), base::narrow<cuuint64_t>(tensor.sequences)};
  const auto bytes = [](std::int64_t elements) {
    return base::narrow<cuuint64_t>(elements * size_of(DType::bf16));
  };
  const cuuint64_t strides[] = {bytes(tensor.head_stride), bytes(tensor.row_stride),
                                bytes(tensor.sequence_stride)};
  const cuuint32_t box[] = {64, 1, base::narrow<cuuint32_t>(box_rows), 1};
  const cuuint32_t element_strides[] = {1, 1, 1, 1};
  TensorMap map{};
  const CUresult result = encode(
      &map.encoded, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, const_cast<Bf16*>(tensor.data), extents,
      strides, box, element_strides, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw base::Error(base::ErrorKind::device,
                      "cuTensorMapEncodeTiled refused a tensor of " +
                          std::to_string(tensor.sequences) + " x " + std::to_string(tensor.rows) +
                          " x " + std::to_string(tensor.heads) + " x " +
                          std::to_string(tensor.columns) + " elements with rows " +
                          std::to_string(tensor.row_stride) + " apart (error " +
                          std::to_string(static_cast<int>(result)) + ")");
  }
  return map;
}

}  // namespace ssmax::device
