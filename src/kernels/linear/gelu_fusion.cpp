#include "kernels/linear/gelu_fusion.h"

#include <atomic>

#include "device/gpus.h"

namespace ssmax::kernels {

namespace {

std::atomic<GeluFusion> chosen = GeluFusion::automatic;

}  // namespace

void set_gelu_fusion(GeluFusion fusion) { chosen = fusion; }

bool wants_gelu_fusion(device::Device gpu) {
  return wants_gelu_fusion(chosen, device::capability_major(gpu));
}

// What others have measured with bf16: faster on an H100, where llm.c has it on
// (https://github.com/karpathy/llm.c/pull/653), and on a B200, where a product with its GELU takes
// 0.81 to 0.85 of the time (https://github.com/sgl-project/sglang/pull/28168). On Ada, so that
// llm.c has it off below 9.0, and on consumer Blackwell, 12.0, cuBLASLt was the slower one
// (https://github.com/karpathy/llm.c/pull/338, https://github.com/sgl-project/sglang/pull/34350).
bool wants_gelu_fusion(GeluFusion fusion, int capability_major) {
  if (fusion != GeluFusion::automatic) return fusion == GeluFusion::on;
  return capability_major == 9 || capability_major == 10;
}

}  // namespace ssmax::kernels
