#include <gtest/gtest.h>

#include "base/setting_scope.h"
#include "device/gpus.h"
#include "kernels/attention/attention_form.h"
#include "kernels/attention/fused_cuda.cuh"
#include "kernels/attention/normalizer_of.h"
#include "support/attention_case.h"

/// The forms of the fused backward on the same inputs.
namespace ssmax {
namespace {

using kernels::AttentionForm;
using kernels::cuda::BackwardForm;
using kernels::cuda::BackwardPlan;
using test::AttentionResult;

class Planned : public kernels::NormalizerOf<kernels::LogLength, kernels::SoftmaxWeighting> {
 public:
  explicit Planned(const BackwardPlan& plan, AttentionForm form = AttentionForm::mma)
      : NormalizerOf({.initial_scale = 1.0}, {}), plan_(plan), form_(form) {}

  void backward(device::Stream& stream, const kernels::AttentionGradients& gradients,
                std::span<const device::Tensor> /*parameter_gradients*/,
                const kernels::ConstHeadsView& dout, const kernels::ConstHeadsView& out,
                const kernels::AttentionSaved& saved, const kernels::AttentionInputs& inputs,
                std::span<const device::ConstTensor> /*parameters*/) const override {
    const base::SettingScope scope(kernels::set_attention_form, form_);
    kernels::cuda::with_tile_width(inputs.q.head_size, [&](auto width) {
      kernels::cuda::fused_backward<width>(stream, gradients, {}, dout, out, saved, inputs, {},
                                           kernels::SoftmaxWeighting{}, plan_);
    });
  }

 private:
  BackwardPlan plan_;
  AttentionForm form_;
};

// Three tiles of keys, in one block, in two, of which one has two tiles, and in three. Blocks only
// cut the sums of dq elsewhere, in fp32. In two passes dk takes an exact D, in one that of the
// stored output.
TEST(AttentionBackward, FormsAndBlocksAgree) {
  using Part = std::pair<test::Documents, std::int64_t>;
  for (const auto& [documents, head_size] :
       {Part{test::Documents::one, 64}, Part{test::Documents::several, 96}}) {
    const auto run = [&](const BackwardPlan& plan, AttentionForm form = AttentionForm::mma) {
      const Planned normalizer(plan, form);
      const auto c = test::make_case(
          {.batch = 1, .time = 260, .heads = 2, .groups = 1, .head_size = head_size}, normalizer,
          documents, test::Bias::none, 3);
      return test::run_attention<device::Bf16>(normalizer, c, test::Run::forward_and_backward, 0.0,
                                               {device::gpu_device(), 8});
    };
    const AttentionResult apart = run({BackwardForm::apart, 3});
    const AttentionResult one = run({BackwardForm::together, 1});
    EXPECT_LT(test::relative_rms(one.dq, apart.dq), 4e-3);
    EXPECT_LT(test::relative_rms(one.dk, apart.dk), 1e-2);
    EXPECT_LT(test::relative_rms(one.dv, apart.dv), 4e-3);
    for (const std::int64_t blocks : {2, 3}) {
      const AttentionResult more = run({BackwardForm::together, blocks});
      EXPECT_LT(test::relative_rms(more.dq, one.dq), 1e-4);
      EXPECT_LT(test::relative_rms(more.dc, one.dc), 1e-5);
      EXPECT_EQ(more.dk, one.dk);
      EXPECT_EQ(more.dv, one.dv);
    }
    // Warpgroups sum in another order, which shows where bf16 falls to the other side.
    for (const std::int64_t blocks : {1, 2, 3}) {
      const AttentionResult found = run({BackwardForm::together, blocks}, AttentionForm::wgmma);
      EXPECT_LT(test::relative_rms(found.dq, one.dq), 1e-4);
      EXPECT_LT(test::relative_rms(found.dc, one.dc), 1e-5);
      EXPECT_LT(test::relative_rms(found.dk, one.dk), 1e-4);
      EXPECT_LT(test::relative_rms(found.dv, one.dv), 1e-4);
    }
  }
}

// The queries end with the first tile of keys, so that the second has none that a query sees.
TEST(AttentionBackward, TilesWithoutUsedKeysHaveNoBlocks) {
  const auto run = [&](const kernels::AttentionNormalizer& normalizer) {
    const auto c = test::make_case({.batch = 1,
                                    .time = 70,
                                    .heads = 2,
                                    .groups = 1,
                                    .head_size = 64,
                                    .first_position = 58,
                                    .spare_keys = 9},
                                   normalizer, test::Documents::one, test::Bias::none, 3);
    return test::run_attention<device::Bf16>(normalizer, c, test::Run::forward_and_backward, 0.0,
                                             {device::gpu_device(), 8});
  };
  const AttentionResult as_planned =
      run(kernels::NormalizerOf<kernels::LogLength, kernels::SoftmaxWeighting>(
          {.initial_scale = 1.0}, {}));
  const AttentionResult apart = run(Planned({BackwardForm::apart, 2}));
  EXPECT_LT(test::relative_rms(as_planned.dq, apart.dq), 4e-3);
  EXPECT_LT(test::relative_rms(as_planned.dk, apart.dk), 1e-2);
}

// The form that needs no D of its own pass is for many heads or few keys.
TEST(AttentionBackward, GoesTogetherWhereBlocksAreManyAndNotOfOneHead) {
  const auto form = [](std::int64_t batch, std::int64_t groups, std::int64_t time) {
    kernels::AttentionInputs inputs;
    inputs.q.time = time;
    inputs.k.batch = batch;
    inputs.k.heads = groups;
    inputs.k.time = time;
    return kernels::cuda::backward_plan<kernels::SoftmaxWeighting, 64>(inputs);
  };
  EXPECT_EQ(form(64, 12, 1024).form, BackwardForm::together);
  EXPECT_EQ(form(64, 12, 1024).blocks, 1);
  EXPECT_EQ(form(16, 12, 1024).blocks, 3);
  EXPECT_EQ(form(1, 2, 300).blocks, 3);
  EXPECT_EQ(form(4, 16, 4096).blocks, 8);
  EXPECT_EQ(form(4, 15, 4096).form, BackwardForm::apart);
  EXPECT_EQ(form(4, 15, 4096).blocks, 32);
}

}  // namespace
}  // namespace ssmax
