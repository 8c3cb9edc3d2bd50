#pragma once

#include <cstdint>

#include "device/tensor.h"

namespace ssmax::kernels {

/// How a GPU's fused attention computes its products: the forward, and the backward of one pass.
enum class AttentionForm : std::uint8_t {
  automatic,  ///< as has been measured to be faster
  mma,        ///< by warps, mma.sync: every GPU
  wgmma,      ///< by warpgroups, tiles copied by the tensor memory accelerator: compute
              ///< capability 9.0, elsewhere as mma
};

/// For the whole program; automatic until it is called. Means nothing on a CPU.
void set_attention_form(AttentionForm form);

/// Whether attention goes by warpgroups on this GPU.
bool wants_warpgroups(device::Device gpu);
bool wants_warpgroups(AttentionForm form, int capability_major);

}  // namespace ssmax::kernels
