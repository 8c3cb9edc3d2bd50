#include <gtest/gtest.h>

#include <cmath>

#include "comm/agreement.h"
#include "support/ask_to_stop.h"
#include "train/rank_runs.h"

/// Run by mpirun on several ranks, and alone; every rank runs every case.
namespace ssmax::train {
namespace {

using comm::world;

class Ranks : public RankRuns {
 protected:
  void SetUp() override { make_data(900, 400); }  // under five steps an epoch

  RunConfig config(const std::vector<std::string>& overrides = {}) {
    std::vector<std::string> all = {"--training.batch_sequences=12",
                                    "--training.micro_batch_sequences=1"};
    all.insert(all.end(), overrides.begin(), overrides.end());
    return small_run(data_, all);
  }

  std::vector<double> losses(const std::string& name) { return values(name, "loss"); }

  /// One of every line of the metrics that has it.
  std::vector<double> values(const std::string& name, const std::string& of) {
    std::vector<double> result;
    const std::string text = read_all(data_ / name / "metrics.jsonl");
    const std::string key = "\"" + of + "\":";
    for (std::size_t at = text.find(key); at != text.npos; at = text.find(key, at + 1)) {
      result.push_back(std::stod(text.substr(at + key.size())));
    }
    return result;
  }
};

/// In fp64 only the order in which the gradients of the ranks' sequences are added differs. A sum
/// of n = 192 token gradients is off by at most n 2^-53 = 2e-14 of its terms; Adam divides by the
/// root of the second moment, so that a step of 3e-3 moves a weight by as much relative to the
/// cancellation in its gradient. Over twelve steps 1e-9 leaves a factor of 1e4 for cancellation.
TEST_F(Ranks, AgreeWithOneRankUpToTheOrderOfAdditions) {
  const RunConfig run_config = config({"--training.precision=fp64", "--optimizer.clip_norm=0.1"});
  run(run_config, "ranks");
  if (!world().is_root()) return;
  run(run_config, "alone", comm::solo());
  const auto alone = tensors("alone");
  const auto ranks = tensors("ranks");
  ASSERT_EQ(alone.size(), ranks.size());
  for (const auto& [name, values] : alone) {
    const std::vector<double>& others = ranks.at(name);
    for (std::size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(others[i], values[i], 1e-9) << name;
  }
  for (const char* key : {"loss", "gradient_norm"}) {
    const std::vector<double> of_alone = values("alone", key);
    const std::vector<double> of_ranks = values("ranks", key);
    ASSERT_EQ(of_alone.size(), of_ranks.size());
    for (std::size_t i = 0; i < of_alone.size(); ++i) {
      EXPECT_NEAR(of_ranks[i], of_alone[i], 1e-10) << key;
    }
  }
  EXPECT_EQ(values("ranks", "communication_seconds").size(), world().size() > 1 ? 12U : 0U);
}

TEST_F(Ranks, TwoRunsAreBitEqual) {
  for (const char* precision : {"fp32", "bf16"}) {
    const RunConfig run_config = config({std::string("--training.precision=") + precision});
    const std::string first = std::string("first_") + precision;
    const std::string second = std::string("second_") + precision;
    run(run_config, first);
    run(run_config, second);
    if (!world().is_root()) continue;
    EXPECT_EQ(tensors(first), tensors(second));
    EXPECT_EQ(losses(first), losses(second));
  }
}

/// The owner of an element does the same arithmetic on the same sum, whoever else does it too.
TEST_F(Ranks, AShardedOptimizerIsBitEqual) {
  for (const char* precision : {"fp32", "bf16", "fp64"}) {
    for (const char* kind : {"ssmax", "learned_length"}) {
      const std::vector<std::string> overrides = {std::string("--training.precision=") + precision,
                                                  std::string("--model.normalizer.kind=") + kind,
                                                  "--training.steps=6"};
      std::vector<std::string> sharded = overrides;
      sharded.emplace_back("--parallel.shard_optimizer=true");
      const std::string name = std::string(precision) + kind;
      run(config(overrides), name + "_whole");
      run(config(sharded), name + "_sharded");
      if (!world().is_root()) continue;
      EXPECT_EQ(tensors(name + "_whole"), tensors(name + "_sharded")) << name;
      EXPECT_EQ(losses(name + "_whole"), losses(name + "_sharded")) << name;
    }
  }
}

TEST_F(Ranks, ResumeIsTheUninterruptedRun) {
  for (const char* sharded : {"false", "true"}) {
    const RunConfig run_config =
        config({"--training.precision=bf16", std::string("--parallel.shard_optimizer=") + sharded});
    const std::string name = std::string("sharded_") + sharded;
    run(run_config, name);
    const auto expected_tensors = world().is_root() ? tensors(name) : decltype(tensors(name))();
    const auto expected_losses = losses(name);
    world().barrier();
    if (world().is_root()) {
      for (const auto& folder : checkpoint::step_folders(data_ / name)) {
        if (checkpoint::step_of_folder_name(folder.filename().string()) > 6) {
          std::filesystem::remove_all(folder);
        }
      }
    }
    world().barrier();
    run(run_config, name);
    if (!world().is_root()) continue;
    EXPECT_EQ(tensors(name), expected_tensors) << name;
    EXPECT_EQ(losses(name), expected_losses) << name;
  }
}

/// Gradients rounded to bf16 keep 8 bits; the loss stays near, and nobody may take one for the
/// other.
TEST_F(Ranks, Bf16ReductionStaysNear) {
  run(config(), "full");
  run(config({"--parallel.reduction=bf16"}), "bf16");
  if (!world().is_root() || world().size() == 1) return;
  const std::vector<double> full = losses("full");
  const std::vector<double> bf16 = losses("bf16");
  ASSERT_EQ(full.size(), bf16.size());
  for (std::size_t i = 0; i < full.size(); ++i) EXPECT_NEAR(bf16[i], full[i], 0.02);
  EXPECT_NE(full, bf16);
}

TEST_F(Ranks, AShardedOptimizerTakesLessMemory) {
  const RunConfig run_config = config({"--parallel.shard_optimizer=true"});
  const int ranks = 4;
  const auto bytes_of = [&](const RunConfig& of, const char* label) {
    std::int64_t bytes = 0;
    for (const auto& entry :
         plan_memory(of, 1, {.rank = 1, .ranks = ranks, .device = {}}).allocations) {
      if (entry.label == label) bytes += entry.bytes;
    }
    return bytes;
  };
  EXPECT_EQ(bytes_of(run_config, "first moments"), bytes_of(config(), "first moments") / ranks);
  EXPECT_EQ(bytes_of(run_config, "weights (master)"), bytes_of(config(), "weights (master)"));
  const RunConfig bf16 = config({"--parallel.shard_optimizer=true", "--training.precision=bf16"});
  EXPECT_EQ(bytes_of(bf16, "weights (master)"), bytes_of(config(), "weights (master)") / ranks);
}

TEST_F(Ranks, AFlippedBitIsNamedWithRankAndTensor) {
  device::Arena arena;
  const std::vector<params::ParameterSpec> specs = {
      {"a.weight", {8, 8}}, {"b.weight", {8}}, {.name = "c.scale", .shape = {8}, .exact = true}};
  // The last bit of a number that is exact is lost in its copy.
  const params::ParameterSet set(specs, device::DType::bf16, params::Gradients::none, arena);
  device::Stream stream;
  set.initialize(stream, 1);
  check_replicas(world(), set);
  if (world().size() == 1) return;
  const auto expect_named = [&](int rank, const device::Tensor& tensor, const char* name) {
    auto* byte = static_cast<unsigned char*>(tensor.raw()) + 4;
    if (world().rank() == rank) *byte ^= 1U;
    try {
      check_replicas(world(), set);
      ADD_FAILURE() << "expected an error";
    } catch (const base::Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(error.kind(), base::ErrorKind::numerics);
      EXPECT_NE(message.find(name), std::string::npos) << message;
      EXPECT_NE(message.find(world().rank_text(rank)), std::string::npos) << message;
    }
    if (world().rank() == rank) *byte ^= 1U;
  };
  expect_named(world().size() - 1, set.slice(set.flat_compute(), 1), "b.weight");
  expect_named(world().size() - 1, set.exact_weight(2), "c.scale");
  // Of two nobody knows which is right.
  if (world().size() > 2) expect_named(0, set.slice(set.flat_compute(), 0), "a.weight");
}

TEST_F(Ranks, AnotherConfigIsRefusedWithBothValues) {
  if (world().size() == 1) GTEST_SKIP() << "needs several ranks";
  const bool other = world().rank() == 1;
  try {
    Trainer trainer(config({other ? "--optimizer.beta2=0.99" : "--optimizer.beta2=0.95"}),
                    data_ / "refused", world());
    FAIL() << "expected an error";
  } catch (const base::Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.kind(), base::ErrorKind::usage);
    for (const char* part : {"optimizer.beta2", "0.95 on rank 0", "0.99 on rank 1"}) {
      EXPECT_NE(message.find(part), std::string::npos) << message;
    }
  }
}

TEST_F(Ranks, OtherDataIsRefused) {
  if (world().size() == 1) GTEST_SKIP() << "needs several ranks";
  const std::string current = std::filesystem::current_path().string();
  for (const bool of_training : {true, false}) {
    // The same names in another folder of this rank alone.
    RunConfig run_config = config();
    run_config.data.train = {"train.bin"};
    run_config.data.validation = {"val.bin"};
    const bool other = world().rank() == 1;
    if (other) {
      std::filesystem::create_directory(own_.path() / "mine");
      write_tokens(own_.path() / "mine" / "train.bin", of_training ? 901 : 900);
      write_tokens(own_.path() / "mine" / "val.bin", of_training ? 400 : 401);
    }
    std::filesystem::current_path(other ? own_.path() / "mine" : data_);
    try {
      Trainer trainer(run_config, data_ / "refused", world());
      ADD_FAILURE() << "expected an error";
    } catch (const base::Error& error) {
      const char* data =
          of_training ? "fingerprint of data.train" : "fingerprint of data.validation";
      EXPECT_EQ(error.kind(), base::ErrorKind::usage);
      EXPECT_NE(std::string(error.what()).find(data), std::string::npos) << error.what();
    }
    std::filesystem::current_path(current);
  }
}

/// Here by a start that is another file on one rank.
TEST_F(Ranks, WeightsThatDifferAreNotSaved) {
  if (world().size() == 1) GTEST_SKIP() << "needs several ranks";
  const char* seed = world().rank() == 1 ? "--seed=4" : "--seed=3";
  Trainer(config({"--training.steps=0", seed}), own_.path() / "start");
  const std::filesystem::path current = std::filesystem::current_path();
  std::filesystem::current_path(own_.path());
  try {
    run(config({"--training.steps=1", "--start.checkpoint=start"}), "refused");
    ADD_FAILURE() << "expected an error";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::numerics);
    EXPECT_NE(std::string(error.what()).find("differ from those of most ranks"), std::string::npos)
        << error.what();
  }
  std::filesystem::current_path(current);
}

TEST_F(Ranks, ABatchThatTheRanksDoNotDivideIsRefused) {
  EXPECT_THROW(
      choose_micro_batch(config({"--training.batch_sequences=10"}), {.ranks = 4, .device = {}}),
      base::Error);
  EXPECT_THROW(choose_micro_batch(config({"--training.micro_batch_sequences=4"}),
                                  {.ranks = 2, .device = {}}),
               base::Error);
}

TEST_F(Ranks, ASignalToOneRankStopsAllAtTheSameStep) {
  const RunConfig run_config = config({"--checkpoint.every_steps=50", "--training.steps=200"});
  Trainer trainer(run_config, data_ / "stopped", world());
  if (world().rank() == world().size() - 1) support::ask_to_stop(signals_, SIGUSR1);
  std::string stopped;
  try {
    trainer.run(signals_, watchdog_);
    FAIL() << "expected a stop";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::stopped);
    stopped = error.what();
  }
  for (const std::string& other : world().gather_texts(stopped)) EXPECT_EQ(other, stopped);
  const std::int64_t step = checkpoint::load(data_ / "stopped").manifest().step;
  EXPECT_NE(stopped.find("stopped at step " + std::to_string(step) + " "), std::string::npos)
      << stopped;
}

TEST(StepMeeting, NamesTheSlowestRank) {
  StepMeeting meeting(world());
  const int last = world().size() - 1;
  const double seconds = world().rank() == last ? 0.4 : 0.1;
  const StepTotals totals = meeting.meet({.loss = 1.0,
                                          .tokens = 2.0,
                                          .norm_squared = 3.0,
                                          .compute_seconds = seconds,
                                          .signal = world().is_root() ? SIGTERM : 0});
  EXPECT_EQ(totals.loss, world().size());
  EXPECT_EQ(totals.tokens, 2.0 * world().size());
  EXPECT_EQ(totals.norm_squared, 3.0 * world().size());
  EXPECT_EQ(totals.compute_seconds, 0.4);
  EXPECT_EQ(totals.signal, SIGTERM);
  const std::string line = meeting.straggler();
  if (world().size() == 1) {
    EXPECT_EQ(line, "");
  } else {
    EXPECT_TRUE(line.starts_with("slowest " + world().rank_text(last) + ": 0.4 s")) << line;
    meeting.meet({.compute_seconds = world().is_root() ? 0.2 : 0.1});
    const std::string next = meeting.straggler();
    EXPECT_TRUE(next.starts_with("slowest " + world().rank_text(0) + ": 0.2 s")) << next;
  }
}

}  // namespace
}  // namespace ssmax::train
