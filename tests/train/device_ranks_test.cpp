#include <gtest/gtest.h>

#include <map>

#include "comm/ranks_fixture.h"
#include "support/temporary_folder.h"
#include "support/test_device.h"
#include "train/train_fixture.h"
#include "train/trainer.h"

/// Run on several ranks, whose GPU is one and the same, or the emulated one of each process; every
/// rank runs every case. Work on the emulated device waits until somebody waits for it, so that a
/// gradient which is sent too early is an old one.
namespace ssmax::train {
namespace {

using comm::world;

class DeviceRanks : public ::testing::Test {
 protected:
  void SetUp() override {
    if (device::gpus().found.empty()) GTEST_SKIP() << device::gpus().reason;
    data_ = world().broadcast(own_.path().string());
    if (world().is_root()) {
      write_tokens(data_ / "train.bin", 500);
      write_tokens(data_ / "val.bin", 200);
    }
    world().barrier();
  }
  // The folder of rank 0 goes with its fixture, when nobody needs it any more.
  void TearDown() override { world().barrier(); }

  RunConfig config(std::vector<std::string> overrides) {
    overrides.insert(
        overrides.begin(),
        {"--training.device=cuda", "--model.num_hidden_layers=1", "--training.steps=2",
         "--checkpoint.every_steps=3", "--validation.every_steps=3", "--validation.batches=1",
         "--training.micro_batch_sequences=2", "--parallel.transport=host"});
    return small_run(data_, overrides);
  }

  void run(const RunConfig& config, const std::string& name, comm::Communicator& ranks = world()) {
    {
      Trainer trainer(config, data_ / name, ranks);
      trainer.run(signals_, watchdog_);
    }
    ranks.barrier();
  }

  /// Weights and moments at the end as double, by name.
  std::map<std::string, std::vector<double>> tensors(const std::string& name) {
    std::map<std::string, std::vector<double>> result;
    const auto loaded = checkpoint::load(data_ / name);
    for (const checkpoint::TensorInfo& info : loaded.tensors()) {
      std::vector<double>& values = result[info.name];
      values.resize(static_cast<std::size_t>(info.elements()));
      loaded.read_elements(info.name, 0, device::view(values.data(), {info.elements()}));
    }
    return result;
  }

  void expect_same_bits(const std::string& a, const std::string& b) {
    if (!world().is_root()) return;
    EXPECT_TRUE(tensors(a) == tensors(b)) << a << " and " << b;
  }

  support::TemporaryFolder own_;
  std::filesystem::path data_;
  StopSignals signals_{75};
  Watchdog watchdog_{0, [](const base::Error& error) { FAIL() << error.what(); }};
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
