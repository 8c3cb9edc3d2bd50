#pragma once

#include <cstdint>

#include "device/tensor.h"

namespace ssmax::kernels {

/// Whether a GPU's matrix products compute the GELU behind or before them themselves.
enum class GeluFusion : std::uint8_t {
  automatic,  ///< where it is faster, as far as is known
  on,         ///< wherever the library has a kernel for it
  off,        ///< never
};

/// What a call has come to.
enum class GeluForm : std::uint8_t {
  fused,     ///< one kernel, that of the product
  separate,  ///< a kernel of its own
};

/// For the whole program; automatic until it is called. Means nothing on a CPU.
void set_gelu_fusion(GeluFusion fusion);

/// Whether the library is to be asked on this GPU.
bool wants_gelu_fusion(device::Device gpu);
bool wants_gelu_fusion(GeluFusion fusion, int capability_major);

}  // namespace ssmax::kernels
