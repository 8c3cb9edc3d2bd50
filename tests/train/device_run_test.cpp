#include <gtest/gtest.h>

#include <regex>

#include "base/setting_scope.h"
#include "checkpoint/load.h"
#include "checkpoint/match.h"
#include "device/gpus.h"
#include "kernels/linear/gelu_fusion.h"
#include "model/generation.h"
#include "normalizers/registry.h"
#include "support/temporary_folder.h"
#include "support/test_device.h"
#include "train/train_fixture.h"
#include "train/trainer.h"

/// Whole runs on a GPU, or on the emulated one, beside the same runs on the CPU.
namespace ssmax::train {
namespace {

const std::string kCuda = "--training.device=cuda";
const std::string kCpu = "--training.device=cpu";

class DeviceRunTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (device::gpus().found.empty()) GTEST_SKIP() << device::gpus().reason;
    write_tokens(data_.path() / "train.bin", 500);
    write_tokens(data_.path() / "val.bin", 200);
    write_manifest(data_.path());
  }

  RunConfig config(std::vector<std::string> overrides) {
    overrides.insert(overrides.begin(), {"--training.steps=3", "--checkpoint.every_steps=2",
                                         "--validation.every_steps=3", "--validation.batches=1",
                                         "--training.micro_batch_sequences=4"});
    return small_run(data_.path(), overrides);
  }

  void run(const RunConfig& config, const std::string& name) {
    Trainer trainer(config, folder(name));
    trainer.run(signals_, watchdog_);
  }

  /// Losses of steps and validations in the order of metrics.jsonl.
  std::vector<double> losses(const std::string& name) {
    const std::string text = read_all(folder(name) / "metrics.jsonl");
    const std::regex loss(R"re("loss":([0-9.e+-]+))re");
    std::vector<double> values;
    for (std::sregex_iterator it(text.begin(), text.end(), loss), end; it != end; ++it) {
      values.push_back(std::stod((*it)[1]));
    }
    return values;
  }

  void expect_like_the_cpu(const std::vector<std::string>& overrides, double bound,
                           const std::string& name) {
    SCOPED_TRACE(name);
    std::vector<std::string> on_gpu = overrides;
    std::vector<std::string> on_cpu = overrides;
    on_gpu.push_back(kCuda);
    on_cpu.push_back(kCpu);
    run(config(on_gpu), name + "_gpu");
    run(config(on_cpu), name + "_cpu");
    const std::vector<double> found = losses(name + "_gpu");
    const std::vector<double> expected = losses(name + "_cpu");
    ASSERT_EQ(found.size(), expected.size());
    ASSERT_EQ(found.size(), 4U);  // three steps and a validation
    for (std::size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], bound) << i;
  }

  std::string tensors(const std::string& name, std::int64_t step) {
    const auto path =
        checkpoint::checkpoints_folder(folder(name)) / checkpoint::step_folder_name(step);
    return read_all(path / "model.safetensors") + read_all(path / "optimizer.safetensors");
  }

  std::filesystem::path folder(const std::string& name) { return data_.path() / name; }

  support::TemporaryFolder data_;
  StopSignals signals_{75};
  Watchdog watchdog_{0, [](const base::Error& error) { FAIL() << error.what(); }};
};

// Two summation orders in f32: sums of some tens of terms differ by 1e-6, and AdamW at its first
// steps passes on the sign of a gradient, so that a weight whose gradient is near 0 moves by up to
// two learning rates, 6e-3 here in the worst case; the loss averages over all.
TEST_F(DeviceRunTest, EveryNormalizerTrainsAsOnTheCpu) {
  for (const auto& entry : normalizers::entries()) {
    expect_like_the_cpu({"--model.normalizer.kind=" + entry.kind}, 1e-3, entry.kind);
  }
}

// The other halves of the model: LayerNorm, GELU, biases, learned positions, grouped queries.
TEST_F(DeviceRunTest, OtherArchitecturesTrainAsOnTheCpu) {
  expect_like_the_cpu({"--model.norm=layer_norm", "--model.mlp=gelu", "--model.bias=true",
                       "--model.position.kind=learned", "--model.tie_word_embeddings=true"},
                      1e-3, "gpt2");
  expect_like_the_cpu({"--model.position.kind=alibi", "--model.num_key_value_heads=1",
                       "--data.document_mask=true", "--training.recompute=block"},
                      1e-3, "grouped");
}

// bf16 rounds to 2^-9 of a value at every step of the way; losses are near 4.
TEST_F(DeviceRunTest, TrainsInBf16AsOnTheCpu) {
  expect_like_the_cpu({"--training.precision=bf16", "--training.micro_batch_sequences=2"}, 2e-2,
                      "bf16");
}

// GELU within matrix products and apart from them; bits that differ show that both were taken,
// where the library is known to have the kernels.
TEST_F(DeviceRunTest, BothFormsOfGeluTrainInBf16AsOnTheCpu) {
  const std::vector<std::string> gpt2 = {
      "--model.norm=layer_norm",   "--model.mlp=gelu",
      "--model.bias=true",         "--model.position.kind=learned",
      "--training.precision=bf16", "--training.micro_batch_sequences=2"};
  for (const auto& [fusion, name] : {std::pair{kernels::GeluFusion::on, "fused"},
                                     std::pair{kernels::GeluFusion::off, "separate"}}) {
    const base::SettingScope scope(kernels::set_gelu_fusion, fusion);
    expect_like_the_cpu(gpt2, 2e-2, name);
  }
  if (testing::is_emulated()) {
    EXPECT_NE(losses("fused_gpu"), losses("separate_gpu"));
  }
  EXPECT_EQ(losses("fused_cpu"), losses("separate_cpu"));
}

TEST_F(DeviceRunTest, ResumesBitForBit) {
  run(config({kCuda, "--training.precision=bf16"}), "whole");
  run(config({kCuda, "--training.precision=bf16"}), "resumed");
  std::filesystem::remove_all(checkpoint::checkpoints_folder(folder("resumed")) /
                              checkpoint::step_folder_name(3));
  run(config({kCuda, "--training.precision=bf16"}), "resumed");
  EXPECT_TRUE(tensors("resumed", 3) == tensors("whole", 3));
  EXPECT_EQ(losses("resumed"), losses("whole"));
}

TEST_F(DeviceRunTest, ARunMovesBetweenDevices) {
  run(config({kCuda, "--training.steps=1"}), "moved");
  run(config({kCpu, "--training.steps=2"}), "moved");
  run(config({kCuda}), "moved");
  EXPECT_EQ(losses("moved").size(), 6U);  // three steps, each the last of its run
}

TEST_F(DeviceRunTest, GeneratesWithTheCacheWhatTheCpuGenerates) {
  run(config({kCuda}), "run");
  const checkpoint::LoadedCheckpoint loaded = checkpoint::load((folder("run")).string());
  const auto logits_on = [&](device::Device device) {
    device::Arena arena(device);
    device::Stream stream(device);
    const model::Model model(config({}).model, device::DType::f32, params::Gradients::none, arena);
    checkpoint::load_parameters(loaded, model.parameters());
    model.parameters().refresh_compute(stream);
    model::KvDecoder decoder(model, 1, 100, arena);
    const std::vector<std::int32_t> prompt = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9};
    decoder.feed(stream, prompt);
    const std::span<const float> logits = decoder.feed(stream, std::span(prompt).first(1));
    return std::vector<float>(logits.begin(), logits.end());
  };
  const std::vector<float> expected = logits_on({});
  const std::vector<float> found = logits_on(device::gpu_device());
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_NEAR(found[i], expected[i], 1e-4) << i;  // two orders of sums, no training between
  }
}

// A driver rounds allocations up and keeps memory of its own; the emulated device gives what is
// asked for, so there the plan is exact.
TEST_F(DeviceRunTest, TakesTheMemoryOfItsPlan) {
  if (!testing::is_emulated()) GTEST_SKIP() << "on the emulated device alone";
  const std::vector<std::vector<std::string>> cases = {
      {},
      {"--training.precision=bf16"},
      {"--training.precision=bf16", "--training.recompute=block", "--data.document_mask=true"},
      {"--model.normalizer.kind=entmax", "--data.sequence_length=32"},
      {"--model.num_key_value_heads=1", "--training.precision=bf16"},
      {"--model.norm=layer_norm", "--model.mlp=gelu", "--model.bias=true",
       "--model.position.kind=learned", "--model.tie_word_embeddings=true"}};
  const device::Device gpu = device::gpu_device();
  for (std::size_t i = 0; i < cases.size(); ++i) {
    std::vector<std::string> overrides = cases[i];
    overrides.insert(overrides.end(), {kCuda, "--training.steps=1"});
    const RunConfig config = this->config(overrides);
    const MemoryPlan plan = choose_micro_batch(config, place_alone(config));
    const std::int64_t before = device::available_bytes(gpu);
    Trainer trainer(config, folder("memory_" + std::to_string(i)));
    trainer.run(signals_, watchdog_);
    EXPECT_EQ(before - device::available_bytes(gpu), plan.bytes()) << i << '\n' << plan.table();
  }
}

TEST_F(DeviceRunTest, TheAutomaticMicroBatchIsTheLargestThatFits) {
  const RunConfig config = this->config(
      {kCuda, "--training.micro_batch_sequences=0", "--training.batch_sequences=64",
       "--data.sequence_length=1024", "--model.max_position_embeddings=1024",
       "--training.precision=bf16", "--model.hidden_size=384", "--model.num_attention_heads=6",
       "--model.num_hidden_layers=6", "--model.intermediate_size=1024"});
  const std::int64_t available = device::available_bytes(device::gpu_device());
  const MemoryPlan plan = choose_micro_batch(config, place_alone(config));
  EXPECT_LT(plan.bytes(), available);
  EXPECT_TRUE(plan.micro_batch < 64 || !testing::is_emulated());
  if (plan.micro_batch == 64) return;
  EXPECT_GT(plan_memory(config, 2 * plan.micro_batch, place_alone(config)).bytes(),
            available - (std::int64_t{1} << 30));
}

TEST_F(DeviceRunTest, RefusesAMicroBatchBeyondTheMemory) {
  const RunConfig config = this->config(
      {kCuda, "--training.micro_batch_sequences=4096", "--training.batch_sequences=4096",
       "--data.sequence_length=64", "--model.max_position_embeddings=64", "--model.hidden_size=384",
       "--model.num_attention_heads=6", "--model.num_hidden_layers=96",
       "--model.intermediate_size=1024"});  // 600 GB
  try {
    choose_micro_batch(config, place_alone(config));
    FAIL() << "it was taken";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::device);
    EXPECT_NE(std::string(error.what()).find("training.micro_batch_sequences=4096 needs"),
              std::string::npos)
        << error.what();
  }
}

TEST_F(DeviceRunTest, RefusesWhatAGpuDoesNotDo) {
  EXPECT_THROW(run(config({kCuda, "--training.precision=fp64"}), "fp64"), base::Error);
}

}  // namespace
}  // namespace ssmax::train
