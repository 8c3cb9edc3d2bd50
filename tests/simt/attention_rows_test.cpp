#include <gtest/gtest.h>

#include "device/gpus.h"
#include "kernels/attention/attention_cuda.cuh"
#include "kernels/attention/normalizer_of.h"
#include "support/attention_case.h"

/// Attention by rows when the rows do not fit the workspace at once.
namespace ssmax {
namespace {

using test::AttentionResult;

/// Softmax that goes by rows in chunks of two blocks, or of all.
class ByRows : public kernels::NormalizerOf<kernels::LogLength, kernels::SoftmaxWeighting> {
 public:
  explicit ByRows(std::int64_t chunk_bytes)
      : NormalizerOf({.initial_scale = 1.0}, {}), chunk_bytes_(chunk_bytes) {}

  void forward(device::Stream& stream, const kernels::HeadsView& out,
               const kernels::AttentionSaved& saved, const kernels::AttentionInputs& inputs,
               std::span<const device::ConstTensor> /*parameters*/) const override {
    kernels::cuda::row_forward<float>(stream, out, saved, inputs, {}, kernels::SoftmaxWeighting{},
                                      chunk_bytes_);
  }
  void backward(device::Stream& stream, const kernels::AttentionGradients& gradients,
                std::span<const device::Tensor> /*parameter_gradients*/,
                const kernels::ConstHeadsView& dout, const kernels::ConstHeadsView& /*out*/,
                const kernels::AttentionSaved& saved, const kernels::AttentionInputs& inputs,
                std::span<const device::ConstTensor> /*parameters*/) const override {
    kernels::cuda::row_backward<float>(stream, gradients, {}, dout, saved, inputs, {},
                                       kernels::SoftmaxWeighting{}, chunk_bytes_);
  }

 private:
  std::int64_t chunk_bytes_;
};

// A chunk of one block of eight rows, and one that ends within a head. Rows do not touch each
// other; dk and dv are the same sums cut elsewhere.
TEST(AttentionRows, ChunksAreTheWhole) {
  const ByRows whole(std::int64_t{1} << 30);
  const auto c = test::make_case({.batch = 1, .time = 20, .heads = 4, .groups = 2, .head_size = 20},
                                 whole, test::Documents::several, test::Bias::alibi, 3);
  const auto run = [&](const kernels::AttentionNormalizer& normalizer) {
    return test::run_attention<float>(normalizer, c, test::Run::forward_and_backward, 0.0,
                                      {device::gpu_device()});
  };
  const AttentionResult exact = run(whole);
  for (const std::int64_t chunk_bytes : {1, 2 * 4 * 8 * 20 * 4}) {
    const AttentionResult found = run(ByRows(chunk_bytes));
    EXPECT_EQ(found.out, exact.out);
    EXPECT_EQ(found.rows, exact.rows);
    EXPECT_EQ(found.dq, exact.dq);
    EXPECT_EQ(found.dc, exact.dc);
    EXPECT_LT(test::relative_rms(found.dk, exact.dk), 1e-6);
    EXPECT_LT(test::relative_rms(found.dv, exact.dv), 1e-6);
  }
}

}  // namespace
}  // namespace ssmax
