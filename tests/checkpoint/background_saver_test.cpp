#include "checkpoint/background_saver.h"

#include <atomic>
#include <future>

#include "base/durable_file.h"
#include "checkpoint/checkpoint_fixture.h"

namespace ssmax::checkpoint {
namespace {

class BackgroundSaverTest : public testing::Test {
 protected:
  void SetUp() override { store_.prepare(0); }
  void TearDown() override { base::set_disk_fault_hook({}); }

  TemporaryFolder run_;
  CheckpointStore store_{run_.path(), 3};
  TinyRun tiny_;
};

TEST_F(BackgroundSaverTest, saves_what_was_there_at_the_call) {
  const TinyRun before;
  std::promise<void> changed;
  std::shared_future<void> wait_for_change = changed.get_future().share();
  BackgroundSaver saver(store_);
  // Held back until the weights have moved on: only the snapshot can be what is saved.
  saver.start(tiny_.manifest(10), tiny_.files());
  for (const SaveOutcome& outcome : saver.wait()) ASSERT_FALSE(outcome.error);
  std::atomic<bool> blocked{true};
  base::set_disk_fault_hook([&](base::DiskCall, const fs::path&) {
    if (blocked.exchange(false)) wait_for_change.wait();
    return base::DiskFault{};
  });
  saver.start(tiny_.manifest(20), tiny_.files());
  EXPECT_TRUE(saver.poll().empty());
  device::Stream stream;
  device::fill_zero(stream, tiny_.parameters.flat_master());
  device::fill_zero(stream, tiny_.first);
  device::fill_zero(stream, tiny_.second);
  changed.set_value();
  const std::vector<SaveOutcome> outcomes = saver.wait();
  ASSERT_EQ(outcomes.size(), 1U);
  EXPECT_EQ(outcomes[0].step, 20);
  ASSERT_TRUE(outcomes[0].report);
  EXPECT_EQ(outcomes[0].report->folder.filename(), "step_00000020");
  expect_holds(load(run_.path()), before);
}

TEST_F(BackgroundSaverTest, an_error_surfaces_at_the_next_poll_and_training_goes_on) {
  BackgroundSaver saver(store_);
  saver.start(tiny_.manifest(10), tiny_.files());
  saver.wait();
  base::set_disk_fault_hook([](base::DiskCall call, const fs::path&) {
    return call == base::DiskCall::write ? base::DiskFault{.error = ENOSPC} : base::DiskFault{};
  });
  saver.start(tiny_.manifest(20), tiny_.files());
  // The next save waits for the one in flight.
  saver.start(tiny_.manifest(30), tiny_.files());
  saver.wait();
  base::set_disk_fault_hook({});
  saver.start(tiny_.manifest(40), tiny_.files());
  const std::vector<SaveOutcome> outcomes = saver.wait();
  ASSERT_EQ(outcomes.size(), 1U);
  EXPECT_TRUE(outcomes[0].report);

  base::set_disk_fault_hook([](base::DiskCall call, const fs::path&) {
    return call == base::DiskCall::write ? base::DiskFault{.error = ENOSPC} : base::DiskFault{};
  });
  saver.start(tiny_.manifest(50), tiny_.files());
  std::vector<SaveOutcome> failed;
  while (failed.empty()) failed = saver.poll();
  ASSERT_EQ(failed.size(), 1U);
  EXPECT_EQ(failed[0].step, 50);
  EXPECT_FALSE(failed[0].report);
  ASSERT_TRUE(failed[0].error);
  EXPECT_EQ(failed[0].error->kind(), base::ErrorKind::disk);
  EXPECT_NE(std::string(failed[0].error->what()).find("step 50"), std::string::npos);
  EXPECT_TRUE(saver.poll().empty());
  EXPECT_EQ(load(run_.path()).manifest().step, 40);
}

TEST_F(BackgroundSaverTest, leaving_waits_for_the_save_in_flight) {
  {
    BackgroundSaver saver(store_);
    saver.start(tiny_.manifest(10), tiny_.files());
  }
  expect_holds(load(run_.path()), tiny_);
}

TEST_F(BackgroundSaverTest, the_snapshot_grows) {
  BackgroundSaver saver(store_);
  std::vector<TensorFile> few = tiny_.files();
  few.pop_back();
  saver.start(tiny_.manifest(10), few);
  saver.start(tiny_.manifest(20), tiny_.files());
  EXPECT_EQ(saver.wait().size(), 2U);
  expect_holds(load(run_.path()), tiny_);
}

TEST_F(BackgroundSaverTest, the_snapshot_is_made_once) {
  BackgroundSaver saver(store_);
  saver.reserve(tiny_.files());
  std::int64_t bytes = 0;
  for (const TensorFile& file : tiny_.files()) {
    for (const NamedTensor& named : file.tensors) bytes += named.tensor.bytes();
  }
  EXPECT_GE(BackgroundSaver::snapshot_bytes(tiny_.files()), bytes);
  EXPECT_LE(BackgroundSaver::snapshot_bytes(tiny_.files()), bytes + 12 * 64);
  for (std::int64_t step = 1; step <= 5; ++step) {
    saver.start(tiny_.manifest(step), tiny_.files());
  }
  EXPECT_EQ(saver.wait().size(), 5U);
  expect_holds(load(run_.path()), tiny_);
}

}  // namespace
}  // namespace ssmax::checkpoint
