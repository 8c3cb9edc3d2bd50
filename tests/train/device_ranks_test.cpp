#include <gtest/gtest.h>

#include "support/test_device.h"
#include "train/rank_runs.h"

/// Run on several ranks, whose GPU is one and the same, or the emulated one of each process; every
/// rank runs every case. Work on the emulated device waits until somebody waits for it, so that a
/// gradient which is sent too early is an old one.
namespace ssmax::train {
namespace {

using comm::world;

class DeviceRanks : public RankRuns {
 protected:
  void SetUp() override {
    if (device::gpus().found.empty()) GTEST_SKIP() << device::gpus().reason;
    make_data(500, 200);
  }

  RunConfig config(std::vector<std::string> overrides) {
    overrides.insert(
        overrides.begin(),
        {"--training.device=cuda", "--model.num_hidden_layers=1", "--training.steps=2",
         "--checkpoint.every_steps=3", "--validation.every_steps=3", "--validation.batches=1",
         "--training.micro_batch_sequences=2", "--parallel.transport=host"});
    return small_run(data_, overrides);
  }

  void expect_same_bits(const std::string& a, const std::string& b) {
    if (!world().is_root()) return;
    EXPECT_TRUE(tensors(a) == tensors(b)) << a << " and " << b;
  }
};

/// Gradients of four sequences are added in another order, which differs by some 2^-24 of a
/// gradient, and AdamW's first steps pass on its sign: a weight whose gradient is nearly 0 moves by
/// up to two learning rates, 6e-3 in two steps, all others by rounding.
TEST_F(DeviceRanks, AgreeWithOneRank) {
  const RunConfig accumulating = config({"--training.micro_batch_sequences=1"});
  run(accumulating, "ranks");
  if (!world().is_root()) return;
  run(accumulating, "alone", comm::solo());
  const auto alone = tensors("alone");
  const auto ranks = tensors("ranks");
  ASSERT_EQ(alone.size(), ranks.size());
  std::int64_t far = 0;
  std::int64_t all = 0;
  for (const auto& [name, values] : alone) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_NEAR(ranks.at(name)[i], values[i], 2e-2) << name;
      far += std::abs(ranks.at(name)[i] - values[i]) > 1e-5 ? 1 : 0;
      ++all;
    }
  }
  EXPECT_LT(far, all / 100);
}

/// The owner of an element does the same arithmetic on the same sum, whoever else does it too; and
/// every run does it alike. The emulated NCCL adds in the order of the ranks, as the host does;
/// real ranks of this test share a GPU, which NCCL refuses.
TEST_F(DeviceRanks, ShardsTransportsAndRunsAreBitEqual) {
  const std::vector<std::string> bf16 = {"--training.precision=bf16"};
  std::vector<std::string> sharded = bf16;
  sharded.emplace_back("--parallel.shard_optimizer=true");
  run(config(bf16), "whole");
  run(config(sharded), "sharded");
  run(config(sharded), "again");
  expect_same_bits("whole", "sharded");
  expect_same_bits("sharded", "again");
  if (!testing::is_emulated()) return;
  sharded.emplace_back("--parallel.transport=nccl");
  run(config(sharded), "nccl");
  expect_same_bits("sharded", "nccl");
}

}  // namespace
}  // namespace ssmax::train
