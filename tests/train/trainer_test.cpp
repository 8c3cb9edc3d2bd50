#include "train/trainer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <regex>
#include <set>

#include "base/durable_file.h"
#include "checkpoint/match.h"
#include "optim/schedule.h"
#include "support/ask_to_stop.h"
#include "support/temporary_folder.h"
#include "train/train_fixture.h"

namespace ssmax::train {
namespace {

class TrainerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    write_tokens(data_.path() / "train.bin", 500);  // under eight steps an epoch
    write_tokens(data_.path() / "val.bin", 200);
  }

  RunConfig config(const std::vector<std::string>& overrides = {}) {
    return small_run(data_.path(), overrides);
  }

  /// Runs until a step count, as an interruption would leave it, or to the end.
  void run(const RunConfig& config, const std::string& name) {
    Trainer trainer(config, folder(name));
    trainer.run(signals_, watchdog_);
  }

  /// Leaves the run of `name` as it was right after the checkpoint of `step`.
  void cut_after(const std::string& name, std::int64_t step) {
    for (const auto& entry : checkpoint::step_folders(folder(name))) {
      if (checkpoint::step_of_folder_name(entry.filename().string()) > step) {
        std::filesystem::remove_all(entry);
      }
    }
  }

  std::filesystem::path folder(const std::string& name) { return data_.path() / name; }

  std::string tensors(const std::string& name, std::int64_t step) {
    const auto path =
        checkpoint::checkpoints_folder(folder(name)) / checkpoint::step_folder_name(step);
    return read_all(path / "model.safetensors") + read_all(path / "optimizer.safetensors");
  }

  /// metrics.jsonl without the values of timing keys.
  std::string metrics(const std::string& name) {
    static const std::regex timing(
        R"re("(seconds|tokens_per_second|model_flops_utilization)":[^,}]*)re");
    return std::regex_replace(read_all(folder(name) / "metrics.jsonl"), timing, "");
  }

  support::TemporaryFolder data_;
  StopSignals signals_{75};
  Watchdog watchdog_{0, [](const base::Error& error) { FAIL() << error.what(); }};
};

TEST_F(TrainerTest, LossFallsAndEverythingIsWritten) {
  const RunConfig run_config = config({"--training.steps=40", "--checkpoint.every_steps=20"});
  run(run_config, "run");
  const std::string text = metrics("run");
  EXPECT_NE(text.find(R"("event":"start")"), std::string::npos);
  EXPECT_NE(text.find(R"("event":"end","step":40)"), std::string::npos);
  double first = 0.0;
  double last = 0.0;
  const std::regex line(
      R"re("event":"step","step":(\d+),"loss":([0-9.e+-]+),"learning_rate":([0-9.e+-]+))re");
  for (std::sregex_iterator it(text.begin(), text.end(), line), end; it != end; ++it) {
    if ((*it)[1] == "1") first = std::stod((*it)[2]);
    last = std::stod((*it)[2]);
    EXPECT_EQ(std::stod((*it)[3]),
              optim::learning_rate(run_config.schedule, 3e-3, std::stoll((*it)[1]) - 1, 40));
  }
  EXPECT_NEAR(first, std::log(61.0), 0.1);  // small weights: nearly uniform
  EXPECT_LT(last, first - 0.5);
  std::smatch utilization;
  const std::regex key(R"re("model_flops_utilization":([0-9.e+-]+))re");
  const std::string whole = read_all(folder("run") / "metrics.jsonl");
  ASSERT_TRUE(std::regex_search(whole, utilization, key));
  EXPECT_GT(std::stod(utilization[1]), 0.0);
  EXPECT_LT(std::stod(utilization[1]), 1.0);
  for (const char* name : {"config.json", "log.txt", "metrics.jsonl", "checkpoints/latest"}) {
    EXPECT_TRUE(std::filesystem::exists(folder("run") / name)) << name;
  }
}

TEST_F(TrainerTest, ResumeAtEveryCheckpointIsTheUninterruptedRun) {
  for (const char* precision : {"fp32", "bf16"}) {
    for (const char* kind : {"softmax", "ssmax", "self_adjust", "learned_length"}) {
      const RunConfig run_config = config({std::string("--training.precision=") + precision,
                                           std::string("--model.normalizer.kind=") + kind});
      const std::string name = std::string(precision) + kind;
      run(run_config, name);
      const std::string expected_tensors = tensors(name, 12);
      const std::string expected_metrics = metrics(name);
      for (const std::int64_t step : {9, 6, 3}) {  // epochs 1 and 0
        cut_after(name, step);
        run(run_config, name);
        EXPECT_EQ(tensors(name, 12), expected_tensors) << name << " resumed at " << step;
        EXPECT_EQ(metrics(name), expected_metrics) << name << " resumed at " << step;
      }
    }
  }
}

/// Of another size their sums have other bits; what is chosen by the memory may be another later.
TEST_F(TrainerTest, MicroBatchesStayAsTheyWereAtAResume) {
  run(config(), "straight");  // micro-batches of 2
  run(config(), "resumed");
  cut_after("resumed", 6);
  run(config({"--training.micro_batch_sequences=0"}), "resumed");  // a new run would take 4
  EXPECT_EQ(tensors("resumed", 12), tensors("straight", 12));
  EXPECT_EQ(metrics("resumed"), metrics("straight"));

  // Another batch has other sums anyway.
  cut_after("resumed", 6);
  run(config({"--training.micro_batch_sequences=0", "--training.batch_sequences=8"}), "resumed");
  EXPECT_EQ(checkpoint::load(folder("resumed")).manifest().integer("micro_batch_sequences"), 8);

  cut_after("resumed", 6);
  run(config({"--training.micro_batch_sequences=4"}), "resumed");
  EXPECT_NE(read_all(folder("resumed") / "log.txt").find("micro-batches had 2 sequences"),
            std::string::npos);
  const RunConfig larger =
      config({"--training.batch_sequences=6", "--training.micro_batch_sequences=0"});
  EXPECT_EQ(choose_micro_batch(larger, place_alone(larger), 4).micro_batch, 6);
}

TEST_F(TrainerTest, ValidationIsOfTheSameSequencesWhateverTheMicroBatch) {
  write_tokens(data_.path() / "val.bin", 10 * 16 + 1);
  const auto validated = [&](const char* micro, const char* batches) {
    const std::string name = std::string(micro).append("_").append(batches);
    run(config({"--training.precision=fp64", "--training.steps=1",
                std::string("--training.micro_batch_sequences=") + micro,
                std::string("--validation.batches=") + batches}),
        name);
    const std::string text = metrics(name);
    static const std::regex line(
        R"re("validation","step":1,"loss":([0-9.]{10})[0-9]*,"tokens":(\d+))re");
    std::smatch match;
    EXPECT_TRUE(std::regex_search(text, match, line)) << text;
    return match[1].str() + " of " + match[2].str();
  };
  const std::string two = validated("1", "2");  // batches of four sequences
  EXPECT_EQ(two.substr(two.find("of")), "of 128");
  EXPECT_EQ(validated("4", "2"), two);
  const std::string all = validated("1", "20");
  EXPECT_EQ(all.substr(all.find("of")), "of 160");
  EXPECT_EQ(validated("4", "20"), all);  // two sequences are left for the last one
  write_tokens(data_.path() / "val.bin", 17);
  EXPECT_NE(validated("2", "1").find("of 16"), std::string::npos);
}

TEST_F(TrainerTest, TokensAreThoseOfTheBatchesAsTheyWere) {
  run(config({"--training.steps=6", "--training.batch_sequences=8"}), "run");
  run(config({"--training.steps=8", "--training.batch_sequences=4"}), "run");
  const std::int64_t length = config().data.sequence_length;
  const checkpoint::Manifest manifest = checkpoint::load(folder("run")).manifest();
  EXPECT_EQ(manifest.tokens, (6 * 8 + 2 * 4) * length);
  EXPECT_EQ(manifest.global_sample_index, 6 * 8 + 2 * 4);
  EXPECT_EQ(manifest.epoch, 1);  // of 31 sequences
  EXPECT_EQ(manifest.seed, 3);
  EXPECT_NE(metrics("run").find("\"tokens\":" + std::to_string((6 * 8 + 4) * length)),
            std::string::npos);
}

TEST_F(TrainerTest, AResumeTellsWhatHasChanged) {
  run(config({"--training.steps=3"}), "run");
  const auto file = checkpoint::step_folders(folder("run")).front() / checkpoint::kManifestName;
  checkpoint::Manifest manifest = checkpoint::read_manifest(file);
  manifest.world_size = 4;
  manifest.data_fingerprint = "of other data";
  std::ofstream(file) << checkpoint::to_text(manifest);
  run(config({"--training.steps=4", "--data.sequence_length=8", "--optimizer.beta2=0.9"}), "run");
  const std::string log = read_all(folder("run") / "log.txt");
  for (const char* part :
       {"by 4 ranks, now there are 1", "of other data", "data.sequence_length was 16, is 8",
        "optimizer.beta2 was 0.95, is 0.9"}) {
    EXPECT_NE(log.find(part), std::string::npos) << part << " in\n" << log;
  }
}

TEST_F(TrainerTest, ARunThatIsDoneStaysAsItWas) {
  run(config({"--training.steps=6"}), "run");
  const std::string before = read_all(folder("run") / "config.json");
  run(config({"--training.steps=3", "--optimizer.learning_rate=0.5"}), "run");
  EXPECT_EQ(read_all(folder("run") / "config.json"), before);
  EXPECT_NE(read_all(folder("run") / "log.txt").find("nothing is left to do"), std::string::npos);
}

TEST_F(TrainerTest, DocumentsAreMaskedInTrainingAndValidation) {
  write_manifest(data_.path());
  std::set<std::string> losses;
  for (const char* steps : {"0", "1"}) {
    for (const char* masked : {"false", "true"}) {
      const std::string name = std::string(steps).append(masked);
      run(config({std::string("--training.steps=") + steps, "--training.batch_sequences=16",
                  std::string("--data.document_mask=") + masked}),
          name);
      const std::string text = metrics(name);
      const std::size_t loss = text.find("\"loss\"");  // of the validation, or of the step
      losses.insert(text.substr(loss, text.find(',', loss) - loss));
    }
  }
  EXPECT_EQ(losses.size(), 4U);
}

TEST_F(TrainerTest, SeedAndShuffleDecideTheOrderOfTheData) {
  run(config({"--training.steps=0"}), "weights");
  std::set<std::string> losses;
  for (const char* chosen : {"--seed=3", "--seed=4", "--data.shuffle=false"}) {
    run(config({"--start.checkpoint=" + folder("weights").string(), "--training.steps=2", chosen}),
        chosen);
    losses.insert(metrics(chosen));
  }
  EXPECT_EQ(losses.size(), 3U);
}

TEST_F(TrainerTest, MicroBatchesGiveTheSameStepUpToRounding) {
  run(config({"--training.precision=fp64", "--training.micro_batch_sequences=1"}), "one");
  run(config({"--training.precision=fp64", "--training.micro_batch_sequences=4"}), "four");
  const auto load = [&](const std::string& name) { return checkpoint::load(folder(name)); };
  const auto one = load("one");
  const auto four = load("four");
  for (const checkpoint::TensorInfo& info : one.tensors()) {
    std::vector<double> a(static_cast<std::size_t>(info.elements()));
    std::vector<double> b(a.size());
    const device::Shape shape{std::span<const std::int64_t>(info.shape)};
    one.read(info.name, device::view(a.data(), shape));
    four.read(info.name, device::view(b.data(), shape));
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-9) << info.name;
  }
}

TEST_F(TrainerTest, SignalSavesAndTheNextRunGoesOn) {
  const RunConfig run_config = config({"--checkpoint.every_steps=5"});
  run(run_config, "straight");
  {
    Trainer trainer(run_config, folder("stopped"));
    support::ask_to_stop(signals_, SIGUSR1);
    try {
      trainer.run(signals_, watchdog_);
      FAIL() << "expected a stop";
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::ErrorKind::stopped);
    }
  }
  EXPECT_EQ(checkpoint::load(folder("stopped")).manifest().step, 1);
  // The step has two micro-batches, so there was time to say so.
  EXPECT_NE(read_all(folder("stopped") / "log.txt").find("asked to stop: step 1 is finished"),
            std::string::npos);
  const Trainer trainer(run_config, folder("stopped"));
  EXPECT_NE(read_all(folder("stopped") / "log.txt").find("resuming at step 1 "), std::string::npos);
}

TEST_F(TrainerTest, AStopIsNoSeam) {
  const auto steps = [&](const char* count) {
    return config({"--checkpoint.every_steps=5", std::string("--training.steps=") + count});
  };
  run(steps("7"), "straight");
  Trainer trainer(steps("7"), folder("stopped"));
  support::ask_to_stop(signals_, SIGUSR1);
  EXPECT_THROW(trainer.run(signals_, watchdog_), base::Error);
  const std::string stopped = metrics("stopped");
  EXPECT_TRUE(metrics("straight").starts_with(stopped)) << stopped;
  // A run that is asked in its last step ends.
  run(steps("1"), "ended");
  EXPECT_NE(metrics("ended").find(R"("event":"end","step":1)"), std::string::npos);
}

/// Killed after the checkpoint of a step, and before or after its validation.
TEST_F(TrainerTest, EveryValidationIsMadeOnce) {
  const RunConfig run_config = config({"--checkpoint.every_steps=4", "--training.steps=8"});
  run(run_config, "run");
  const std::string expected = metrics("run");
  const std::regex validation("validation");
  EXPECT_EQ(std::distance(std::sregex_iterator(expected.begin(), expected.end(), validation), {}),
            2);
  for (const char* last : {R"({"event":"validation","step":4)", R"({"event":"step","step":5)"}) {
    cut_after("run", 4);
    std::string text = read_all(folder("run") / "metrics.jsonl");
    text.resize(text.find(last));
    support::write_all(folder("run") / "metrics.jsonl", text);
    run(run_config, "run");
    EXPECT_EQ(metrics("run"), expected) << last;
  }
}

TEST_F(TrainerTest, ARunThatCannotSaveItsEndSaysSo) {
  const RunConfig run_config = config();
  run(run_config, "straight");
  for (const bool stopped : {false, true}) {
    const std::string name = stopped ? "stopped" : "ended";
    base::set_disk_fault_hook([&](base::DiskCall, const std::filesystem::path& path) {
      const bool last =
          path.string().find(stopped ? "step_00000001" : "step_00000012") != std::string::npos;
      return last ? base::DiskFault{.error = ENOSPC} : base::DiskFault{};
    });
    {
      Trainer trainer(run_config, folder(name));
      if (stopped) support::ask_to_stop(signals_, SIGUSR1);
      try {
        trainer.run(signals_, watchdog_);
        FAIL() << "expected an error";
      } catch (const base::Error& error) {
        EXPECT_EQ(error.kind(), base::ErrorKind::disk);
        EXPECT_NE(std::string(error.what()).find("without its last checkpoint"), std::string::npos)
            << error.what();
      }
    }
    base::set_disk_fault_hook({});
    EXPECT_EQ(metrics(name).find(R"("event":"end")"), std::string::npos);
    if (stopped) continue;  // the fixture's signals still ask
    run(run_config, name);
    EXPECT_EQ(tensors(name, 12), tensors("straight", 12));
    EXPECT_EQ(metrics(name), metrics("straight"));
  }
}

TEST_F(TrainerTest, MetricsAreOnTheDiskBeforeTheirCheckpointAndAtTheEnd) {
  std::vector<std::string> order;
  base::set_disk_fault_hook([&](base::DiskCall call, const std::filesystem::path& path) {
    const std::string name = path.filename().string();
    const bool synced = call == base::DiskCall::sync_file && name == "metrics.jsonl";
    const bool named = call == base::DiskCall::rename && name.starts_with("step_");
    if (synced || named) order.push_back(name);
    return base::DiskFault{};
  });
  run(config({"--training.steps=3"}), "run");
  base::set_disk_fault_hook({});
  EXPECT_EQ(order, (std::vector<std::string>{"metrics.jsonl", "step_00000003", "metrics.jsonl"}));
}

TEST_F(TrainerTest, SwapLateInTheRunTakesOverStepAndMoments) {
  run(config({"--model.normalizer.kind=softmax"}), "a");
  const std::string start =
      (checkpoint::checkpoints_folder(folder("a")) / checkpoint::step_folder_name(9)).string();
  const RunConfig late = config({"--start.checkpoint=" + start, "--start.continue_run=true",
                                 "--start.allow_change=model.normalizer"});
  run(late, "f");
  const std::string text = metrics("f");
  EXPECT_NE(text.find(R"("event":"start","step":9)"), std::string::npos);
  EXPECT_NE(text.find(R"("event":"swap","step":9)"), std::string::npos);
  EXPECT_EQ(text.find(R"("event":"step","step":9,)"), std::string::npos);
  EXPECT_NE(text.find(R"("event":"step","step":10)"), std::string::npos);
  const auto loaded = checkpoint::load(folder("f"));
  EXPECT_EQ(loaded.manifest().integer("step_count.model.norm.weight"), 12);
  EXPECT_EQ(loaded.manifest().integer("step_count.model.layers.0.self_attn.normalizer.scale"), 3);
  // From here on it needs nothing of the other run.
  std::filesystem::remove_all(folder("a"));
  run(late, "f");
}

TEST_F(TrainerTest, SwapNeedsLeave) {
  run(config({"--model.normalizer.kind=softmax", "--training.steps=3"}), "a");
  const RunConfig refused = config({"--start.checkpoint=" + folder("a").string()});
  EXPECT_THROW(Trainer(refused, folder("b")), base::Error);
}

/// The same tensors, another function of them.
TEST_F(TrainerTest, AnotherVariantAtResumeIsRefused) {
  const std::vector<std::string> plain = {"--model.normalizer.kind=self_adjust",
                                          "--model.normalizer.variant=plain", "--training.steps=3"};
  std::vector<std::string> shifted = plain;
  shifted[1] = "--model.normalizer.variant=shifted";
  run(config(plain), "run");
  EXPECT_THROW(Trainer(config(shifted), folder("run")), base::Error);
  shifted.push_back("--start.checkpoint=" + folder("run").string());
  EXPECT_THROW(Trainer(config(shifted), folder("other")), base::Error);
  shifted.push_back("--start.allow_change=model.normalizer");
  run(config(shifted), "other");
  // The weights alone are taken over.
  EXPECT_NE(metrics("other").find(R"("event":"step","step":1,)"), std::string::npos);
}

TEST_F(TrainerTest, ZeroStepsAfterASwapWriteACheckpoint) {
  run(config({"--model.normalizer.kind=softmax", "--training.steps=3"}), "a");
  const RunConfig swap = config({"--start.checkpoint=" + folder("a").string(),
                                 "--start.allow_change=model.normalizer", "--training.steps=0"});
  run(swap, "e");
  const auto loaded = checkpoint::load(folder("e"));
  float scale[2] = {};
  loaded.read("model.layers.0.self_attn.normalizer.scale", device::view(scale, {2}));
  const double mean_log = std::lgamma(17.0) / 16.0;  // ln n over n = 1..16
  EXPECT_NEAR(scale[0], 1.0 / mean_log, 1e-6);
  EXPECT_NE(metrics("e").find(R"("event":"validation","step":0)"), std::string::npos);
}

/// A step must not allocate device memory: the arena's report stays as it is.
TEST_F(TrainerTest, PlanIsWhatTheRunAllocates) {
  const RunConfig run_config = config();
  device::Arena arena;
  const TrainingState state(run_config, 2, {}, arena);
  const MemoryPlan plan = plan_memory(run_config, 2, place_alone(run_config));
  std::int64_t planned = 0;
  for (const device::Allocation& entry : arena.report()) {
    for (const device::Allocation& other : plan.allocations) {
      if (other.label == entry.label) {
        EXPECT_EQ(other.bytes, entry.bytes) << entry.label;
        ++planned;
      }
    }
  }
  EXPECT_EQ(planned, static_cast<std::int64_t>(arena.report().size()));
}

/// Attention keeps whole rows of a few queries: T times longer needs T times the scratch.
TEST_F(TrainerTest, PlanCountsTheScratchOfAttention) {
  const auto scratch = [&](const char* length) {
    const RunConfig run_config = config({length});
    const MemoryPlan plan = plan_memory(run_config, 1, place_alone(run_config));
    for (const device::Allocation& entry : plan.allocations) {
      if (entry.label == "attention scratch of threads") return entry.bytes;
    }
    return std::int64_t{0};
  };
  const std::int64_t at_1024 = scratch("--data.sequence_length=1024");
  EXPECT_GT(at_1024, 0);
  EXPECT_GT(scratch("--data.sequence_length=16384"), 12 * at_1024);
}

TEST_F(TrainerTest, NonFiniteLossesLeaveTheWeightsAndEndWithNumerics) {
  const RunConfig wild =
      config({"--optimizer.learning_rate=1e30", "--optimizer.clip_norm=0", "--training.steps=200",
              "--spike_guard.max_skips=3", "--schedule.warmup_steps=0"});
  try {
    run(wild, "wild");
    FAIL() << "expected an error";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::numerics) << error.what();
  }
}

/// What was trained before the bad step is what the run goes back to, however long it is refused.
TEST_F(TrainerTest, RefusedStepsAreNotSaved) {
  run(config({"--training.steps=3"}), "run");
  const RunConfig wild =
      config({"--optimizer.learning_rate=1e38", "--optimizer.clip_norm=0", "--training.steps=40",
              "--spike_guard.max_skips=4", "--schedule.kind=constant", "--schedule.warmup_steps=0",
              "--checkpoint.every_steps=5"});
  EXPECT_THROW(run(wild, "run"), base::Error);  // step 4 ruins the weights, 5 to 8 are refused
  const std::string log = read_all(folder("run") / "log.txt");
  EXPECT_NE(log.find("step 5: skipped"), std::string::npos) << log;
  EXPECT_NE(log.find("going back to " + (folder("run") / "checkpoints/step_00000003").string()),
            std::string::npos)
      << log;
  EXPECT_EQ(checkpoint::load(folder("run")).manifest().step, 3);
}

/// As an import leaves it: no spike guard, no micro-batch, no data.
TEST_F(TrainerTest, ACheckpointWithoutAPastIsGoneOnFrom) {
  run(config({"--training.steps=3"}), "run");
  const auto file = checkpoint::step_folders(folder("run")).front() / checkpoint::kManifestName;
  checkpoint::Manifest manifest = checkpoint::read_manifest(file);
  std::erase_if(manifest.state,
                [](const auto& entry) { return !entry.first.starts_with(checkpoint::kStepCount); });
  manifest.data_fingerprint.clear();
  manifest.recent_losses.clear();
  manifest.recent_norms.clear();
  std::ofstream(file) << checkpoint::to_text(manifest);
  run(config(), "run");
  EXPECT_NE(metrics("run").find(R"("event":"end","step":12)"), std::string::npos);
  EXPECT_EQ(read_all(folder("run") / "log.txt").find("the training data differs"),
            std::string::npos);
}

TEST_F(TrainerTest, SizesThatDoNotFitAreRefused) {
  EXPECT_THROW(config({"--training.micro_batch_sequences=3"}), base::Error);
  const auto learned = [&](const char* positions) {
    return config({"--model.position.kind=learned", positions});
  };
  EXPECT_THROW(learned("--model.max_position_embeddings=15"), base::Error);
  EXPECT_EQ(learned("--model.max_position_embeddings=16").model.max_position_embeddings, 16);
}

TEST_F(TrainerTest, OnlyAScaleOfZeroIsAutomatic) {
  const auto initial = [&](const char* key, const std::vector<std::string>& overrides) {
    return base::config_json(config(overrides).model).find("normalizer")->find(key)->number;
  };
  const std::string start = "--start.checkpoint=elsewhere";
  EXPECT_EQ(initial("initial_scale", {}), 1.0);
  EXPECT_NEAR(initial("initial_scale", {start}), 16.0 / std::lgamma(17.0), 1e-15);
  EXPECT_EQ(initial("initial_scale", {start, "--model.normalizer.initial_scale=2"}), 2.0);
  EXPECT_EQ(initial("initial_bias", {start, "--model.normalizer.bias=true"}), 0.0);
  // Every ln n is 0 there.
  EXPECT_EQ(initial("initial_scale", {start, "--data.sequence_length=1"}), 1.0);
}

TEST_F(TrainerTest, AMicroBatchThatNoMemoryHoldsIsRefused) {
  const RunConfig huge = config(
      {"--training.batch_sequences=1073741824", "--training.micro_batch_sequences=1073741824"});
  try {
    choose_micro_batch(huge, place_alone(huge));
    FAIL() << "expected an error";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::device);
    EXPECT_NE(std::string(error.what()).find("TiB, free are"), std::string::npos) << error.what();
  }
}

/// Batches of steps in order, of which those named are unlike the others.
class StrangeBatches : public TrainerTest {
 protected:
  RunConfig config(const std::set<int>& strange, const std::vector<std::string>& overrides) {
    std::vector<std::int32_t> ids;
    for (int batch = 0; batch < 20; ++batch) {
      for (int i = 0; i < 64; ++i) ids.push_back(strange.contains(batch) ? 3 + i % 50 : i % 2);
    }
    ids.push_back(0);
    support::write_shard(data_.path() / "train.bin", ids);
    std::vector<std::string> all = {"--data.shuffle=false", "--spike_guard.window=3",
                                    "--spike_guard.threshold=4", "--optimizer.learning_rate=1e-2"};
    all.insert(all.end(), overrides.begin(), overrides.end());
    return small_run(data_.path(), all);
  }
};

TEST_F(StrangeBatches, AreSkippedAndChangeNothing) {
  run(config({8}, {"--training.steps=9", "--checkpoint.every_steps=8"}), "run");
  EXPECT_EQ(tensors("run", 9), tensors("run", 8));
  EXPECT_TRUE(std::regex_search(metrics("run"), std::regex(R"("step":9,.*"skipped":true)")));
  EXPECT_EQ(metrics("run").find("skipped"), metrics("run").rfind("skipped"));
}

/// The run goes on behind them as if they and the steps since the checkpoint had never been.
TEST_F(StrangeBatches, AreLeftBehindByARollBack) {
  for (const char* precision : {"fp32", "bf16"}) {
    const std::string back = std::string("back_") + precision;
    const std::string straight = std::string("straight_") + precision;
    const std::vector<std::string> overrides = {"--checkpoint.every_steps=6",
                                                "--spike_guard.max_skips=2",
                                                std::string("--training.precision=") + precision};
    run(config({8, 9}, overrides), back);
    run(config({}, overrides), straight);
    EXPECT_NE(read_all(folder(back) / "log.txt").find("step_00000006 after 2 refused steps"),
              std::string::npos);
    EXPECT_EQ(tensors(back, 12), tensors(straight, 12)) << precision;
    EXPECT_EQ(metrics(back), metrics(straight)) << precision;
    const auto manifest = checkpoint::load(folder(back)).manifest();
    EXPECT_EQ(manifest.global_sample_index, 4 * (12 + 4));
    EXPECT_EQ(manifest.integer("spike_guard.rolled_back"), 1);
  }
}

/// Of the step that is done a second time.
TEST_F(StrangeBatches, DoNotKeepACheckpointFromBeingMadeAgain) {
  std::atomic<bool> failed = false;
  base::set_disk_fault_hook([&](base::DiskCall, const std::filesystem::path& path) {
    const bool fails =
        path.string().find("step_00000009") != std::string::npos && !failed.exchange(true);
    return fails ? base::DiskFault{.error = ENOSPC} : base::DiskFault{};
  });
  run(config({9, 10}, {"--spike_guard.max_skips=2"}), "run");
  base::set_disk_fault_hook({});
  EXPECT_TRUE(std::filesystem::exists(checkpoint::checkpoints_folder(folder("run")) /
                                      checkpoint::step_folder_name(9)));
}

TEST_F(StrangeBatches, AreJudgedTheSameAfterAResume) {
  const auto manifest = [&](std::int64_t step) {
    return checkpoint::load(checkpoint::checkpoints_folder(folder("run")) /
                            checkpoint::step_folder_name(step))
        .manifest();
  };
  const auto until = [&](const char* steps, const char* every) {
    return config({8, 9}, {std::string("--checkpoint.every_steps=") + every,
                           std::string("--training.steps=") + steps, "--spike_guard.max_skips=2",
                           "--schedule.kind=constant"});
  };
  for (const char* steps : {"6", "8"}) run(until(steps, "6"), "run");
  // Of the steps 6, 7, 8.
  EXPECT_EQ(manifest(8).recent_losses[0], manifest(6).recent_losses[2]);
  EXPECT_EQ(manifest(8).recent_norms[0], manifest(6).recent_norms[2]);
  // The second refused step comes after the first was saved, as the last one of a shorter run,
  // which is gone back to only where there is no other.
  const auto goes_back_to = [&](const std::string& name, const char* every, const char* step) {
    for (const char* steps : {"9", "11"}) run(until(steps, every), name);
    EXPECT_NE(read_all(folder(name) / "log.txt").find(step + std::string(" after 2 refused steps")),
              std::string::npos);
  };
  goes_back_to("run", "6", "step_00000008");
  goes_back_to("alone", "50", "step_00000009");

  // A run goes back once, whether it was interrupted since or not.
  const RunConfig twice =
      config({8, 9, 16, 17},
             {"--checkpoint.every_steps=6", "--training.steps=14", "--spike_guard.max_skips=2"});
  for (int start = 0; start < 2; ++start) EXPECT_THROW(run(twice, "twice"), base::Error);
  EXPECT_EQ(checkpoint::load(folder("twice")).manifest().step, 12);
}

/// Completions of different lengths: every token that counts has the same weight, whatever the
/// micro-batches.
TEST_F(TrainerTest, ExamplesAreLearnedByTheEpoch) {
  std::ofstream examples(folder("examples.jsonl"));
  for (int i = 0; i < 8; ++i) {
    examples << R"({"prompt": ")" << std::string(static_cast<std::size_t>(i), 'a')
             << R"(", "completion": ")" << std::string(static_cast<std::size_t>(1 + i % 5), 'b')
             << "\"}\n";
  }
  examples.close();
  std::vector<std::string> losses;
  for (const char* micro : {"1", "4"}) {
    const RunConfig chosen = config(
        {"--data.kind=supervised", "--data.tokenizer=bytes", "--model.vocab_size=257",
         "--data.train=" + folder("examples.jsonl").string(),
         "--data.validation=" + folder("examples.jsonl").string(), "--training.precision=fp64",
         "--training.epochs=3", "--schedule.warmup_epochs=1", "--checkpoint.every_steps=5",
         std::string("--training.micro_batch_sequences=") + micro});
    EXPECT_EQ(training_samples(chosen), 8);
    const RunConfig counted = chosen.with_epochs(8);
    EXPECT_EQ(counted.training.steps, 6);
    EXPECT_EQ(counted.schedule.warmup_steps, 2);
    EXPECT_EQ(config({"--training.epochs=1e300"}).with_epochs(8).training.steps,
              std::int64_t{1} << 62);
    EXPECT_EQ(chosen.with_epochs(9).training.steps, 7);  // of 6.75
    EXPECT_EQ(chosen.with_epochs(1).schedule.warmup_steps, 1);
    run(chosen, micro);
    const std::string text = metrics(micro);
    EXPECT_NE(text.find(R"("event":"end","step":6)"), std::string::npos);
    const std::regex last(R"re("step":6,"loss":([0-9.]{8}))re");
    std::smatch match;
    ASSERT_TRUE(std::regex_search(text, match, last));
    losses.push_back(match[1]);
  }
  EXPECT_EQ(losses[0], losses[1]);

  // Another run from its weights takes over the architecture.
  const std::vector<std::string> finetune = {"--data.kind=supervised",
                                             "--data.tokenizer=bytes",
                                             "--data.train=" + folder("examples.jsonl").string(),
                                             "--training.steps=1",
                                             "--training.batch_sequences=2",
                                             "--training.threads=1",
                                             "--data.sequence_length=16",
                                             "--start.checkpoint=" + folder("1").string(),
                                             "--start.model=checkpoint"};
  const auto adopt = [&](const char* model) {
    return with_start_model(base::parse_config<RunConfig>(
                                std::string("{\"model\": {") + model + "}}", "test", finetune),
                            folder("finetuned"));
  };
  EXPECT_EQ(adopt("").model.vocab_size, 257);
  EXPECT_EQ(adopt(R"("num_hidden_layers": 2)").model.num_hidden_layers, 2);
  EXPECT_THROW(adopt(R"("num_hidden_layers": 3)"), base::Error);

  // Its own checkpoints are enough to go on with.
  run(adopt("").resolved(), "finetuned");
  std::filesystem::remove_all(folder("1"));
  EXPECT_EQ(adopt("").model.vocab_size, 257);
}

}  // namespace
}  // namespace ssmax::train
