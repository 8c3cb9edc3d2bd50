#include <gtest/gtest.h>

#include "device/gpu_memory.h"
#include "device/gpus.h"
#include "device/queue.h"
#include "kernels/attention/attention_cuda.cuh"
#include "kernels/attention/normalizer_of.h"
#include "support/attention_case.h"

/// What the memory plan asks for is what the passes take.
namespace ssmax {
namespace {

using kernels::AttentionPass;

std::int64_t rounded(std::int64_t bytes) {
  return base::div_up(bytes, device::kWorkspaceUnit) * device::kWorkspaceUnit;
}

class Measured : public kernels::NormalizerOf<kernels::LogLength, kernels::SoftmaxWeighting> {
 public:
  using Base = kernels::NormalizerOf<kernels::LogLength, kernels::SoftmaxWeighting>;

  Measured() : Base({.initial_scale = 1.0}, {}) {}

  void forward(device::Stream& stream, const kernels::HeadsView& out,
               const kernels::AttentionSaved& saved, const kernels::AttentionInputs& inputs,
               std::span<const device::ConstTensor> parameters) const override {
    const std::int64_t before = stream.queue()->workspace_bytes;
    Base::forward(stream, out, saved, inputs, parameters);
    const std::int64_t planned = rounded(workspace_bytes(inputs, AttentionPass::forward));
    EXPECT_EQ(stream.queue()->workspace_bytes, std::max(before, planned));
  }
  void backward(device::Stream& stream, const kernels::AttentionGradients& gradients,
                std::span<const device::Tensor> parameter_gradients,
                const kernels::ConstHeadsView& dout, const kernels::ConstHeadsView& out,
                const kernels::AttentionSaved& saved, const kernels::AttentionInputs& inputs,
                std::span<const device::ConstTensor> parameters) const override {
    const std::int64_t before = stream.queue()->workspace_bytes;
    Base::backward(stream, gradients, parameter_gradients, dout, out, saved, inputs, parameters);
    const std::int64_t planned = rounded(workspace_bytes(inputs, AttentionPass::backward));
    EXPECT_EQ(stream.queue()->workspace_bytes, std::max(before, planned));
    EXPECT_GT(planned, 0);
  }
};

TEST(AttentionWorkspace, IsWhatThePlanSays) {
  const Measured normalizer;
  // Few queries, rows, tiles; heads that the tiles do not take.
  for (const std::int64_t time : {5, 70}) {
    for (const std::int64_t head_size : {20, 64, 160}) {
      const auto c = test::make_case(
          {.batch = 2, .time = time, .heads = 4, .groups = 2, .head_size = head_size}, normalizer,
          test::Documents::one, test::Bias::none, 3);
      test::run_attention<float>(normalizer, c, test::Run::forward_and_backward, 0.0,
                                 {device::gpu_device()});
      test::run_attention<device::Bf16>(normalizer, c, test::Run::forward_and_backward, 0.0,
                                        {device::gpu_device()});
    }
  }
}

}  // namespace
}  // namespace ssmax
