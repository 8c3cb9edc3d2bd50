#pragma once

#include <string>
#include <vector>

#include "simt/traffic.h"

namespace ssmax::simt {

/// One op as `ssmax bench` calls it.
struct OpTraffic {
  std::string name;
  std::string shape;
  double bytes = 0.0;  ///< of its tensors, each once; 0: not counted
  std::vector<KernelTraffic> kernels;

  std::uint64_t moved() const;
};

/// The ops of training steps at one shape with rows of 768, in bf16.
std::vector<OpTraffic> count_row_ops();
/// Attention of two heads with this normalizer, as `ssmax bench --normalizers` takes it.
std::vector<OpTraffic> count_attention(const std::string& normalizer, std::int64_t head_size);

}  // namespace ssmax::simt
