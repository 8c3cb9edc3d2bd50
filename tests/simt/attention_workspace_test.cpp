#include <gtest/gtest.h>

#include <utility>

#include "device/gpu_memory.h"
#include "device/gpus.h"
#include "device/queue.h"
#include "kernels/attention/attention_cuda.cuh"
#include "kernels/attention/normalizer_of.h"
#include "simt/engine.h"
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

/// GPUs for desktops give a block 99 KiB: what needs more goes by rows, and agrees all the same.
TEST(AttentionWorkspace, WideHeadsGoByRowsWhereSharedMemoryIsShort) {
  const Measured normalizer;
  const auto c =
      test::make_case({.batch = 1, .time = 40, .heads = 2, .groups = 1, .head_size = 128},
                      normalizer, test::Documents::one, test::Bias::none, 3);
  const auto rows = [&] {
    return test::run_attention<device::Bf16>(normalizer, c, test::Run::forward_and_backward, 0.0,
                                             {device::gpu_device()});
  };
  const std::size_t before = std::exchange(simt::most_shared_bytes, std::size_t{99} << 10);
  const auto by_rows = rows();
  simt::most_shared_bytes = before;
  const auto fused = rows();
  ASSERT_EQ(by_rows.out.size(), fused.out.size());
  for (std::size_t i = 0; i < fused.out.size(); ++i) {
    // Both round the output to bf16; the fused pass rounds weights too.
    EXPECT_NEAR(by_rows.out[i], fused.out[i], 2e-2) << i;
  }
}

}  // namespace
}  // namespace ssmax
