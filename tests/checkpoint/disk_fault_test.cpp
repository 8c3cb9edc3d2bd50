#include <cerrno>
#include <span>

#include "base/durable_file.h"
#include "checkpoint/checkpoint_fixture.h"

/// Every disk call of a save fails once: at whichever, a valid checkpoint is there afterwards.
namespace ssmax::checkpoint {
namespace {

struct Fault {
  const char* name;
  base::DiskFault fault;
};

class DiskFaultTest : public testing::TestWithParam<Fault> {
 protected:
  void TearDown() override { base::set_disk_fault_hook({}); }

  /// The hook fails call number `call`, or with `all` every one from there on; counts calls.
  void inject(int call, bool all) {
    calls_ = 0;
    base::set_disk_fault_hook([this, call, all](base::DiskCall, const fs::path&) {
      const int now = ++calls_;
      return now == call || (all && now > call) ? GetParam().fault : base::DiskFault{};
    });
  }

  int calls_ = 0;
};

TEST_P(DiskFaultTest, at_every_call_of_a_save) {
  const TinyRun older(1), newer(2);
  const bool is_error = GetParam().fault.error != 0;
  const TemporaryFolder run;
  const fs::path folder = checkpoints_folder(run.path());
  const CheckpointStore store(run.path(), 2);
  store.prepare(0);
  store.save(older.manifest(10), older.files());
  int call = 0;
  for (bool reached = true; reached;) {
    ++call;
    // One more than is kept, so that this save also removes one.
    fs::remove_all(folder / "step_00000020");
    fs::remove_all(folder / "step_00000005");
    fs::copy(folder / "step_00000010", folder / "step_00000005");
    const std::string how = std::string(GetParam().name) + " at call " + std::to_string(call);

    inject(call, is_error);
    std::string error;
    SaveReport report;
    try {
      report = store.save(newer.manifest(20), newer.files());
    } catch (const base::Error& thrown) {
      EXPECT_EQ(thrown.kind(), base::ErrorKind::disk) << how;
      error = thrown.what();
    }
    base::set_disk_fault_hook({});
    reached = calls_ >= call;

    const auto checkpoint = load_newest(run.path());
    ASSERT_TRUE(checkpoint) << how;
    EXPECT_TRUE(checkpoint->warnings().empty()) << how;
    EXPECT_EQ(checkpoint->manifest().step, error.empty() ? 20 : 10) << how << ": " << error;
    expect_holds(*checkpoint, error.empty() ? newer : older);
    for (const std::string& name : names_in(folder)) {
      EXPECT_EQ(name.find(".tmp."), std::string::npos) << how << ": " << name;
    }
    if (!error.empty()) {
      EXPECT_NE(error.find(folder.string()), std::string::npos) << how << ": " << error;
      if (GetParam().fault.error == ENOSPC) {
        EXPECT_NE(error.find("free"), std::string::npos) << how << ": " << error;
      }
    }
    EXPECT_TRUE(is_error || error.empty()) << how << ": " << error;
  }
  // Once the fault is gone the same save works.
  store.save(newer.manifest(20), newer.files());
  expect_holds(load(run.path()), newer);
  // Both files and the manifest: create, reserve, write, sync; folder, rename, parent, the hint.
  EXPECT_GT(call, 15);
}

INSTANTIATE_TEST_SUITE_P(Faults, DiskFaultTest,
                         testing::Values(Fault{"no_space", {.error = ENOSPC}},
                                         Fault{"input_output_error", {.error = EIO}},
                                         Fault{"short_write", {.max_bytes = 100}}),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(DiskFault, a_full_disk_is_told_with_path_needed_and_free) {
  const TinyRun tiny;
  const TemporaryFolder run;
  const fs::path folder = checkpoints_folder(run.path());
  const CheckpointStore store(run.path(), 2);
  store.prepare(0);
  base::set_disk_fault_hook([](base::DiskCall call, const fs::path&) {
    return call == base::DiskCall::preallocate ? base::DiskFault{.error = ENOSPC}
                                               : base::DiskFault{};
  });
  const std::string error =
      error_of(base::ErrorKind::disk, [&] { store.save(tiny.manifest(10), tiny.files()); });
  base::set_disk_fault_hook({});
  for (const char* part :
       {"step 10", "step_00000010.tmp.", "model.safetensors", "needed", "free"}) {
    EXPECT_NE(error.find(part), std::string::npos) << part << " in " << error;
  }
  EXPECT_TRUE(names_in(folder).empty());
}

/// What a power cut leaves: files, then their folder, then the name, then the folder of the name.
TEST(DiskOrder, nothing_is_named_before_it_is_on_the_disk) {
  const TinyRun tiny;
  const TemporaryFolder run;
  const CheckpointStore store(run.path(), 2);
  store.prepare(0);
  for (const bool replaces : {false, true}) {
    std::vector<std::string> order;
    base::set_disk_fault_hook([&](base::DiskCall call, const fs::path& path) {
      const std::string name = path.filename().string();
      const std::size_t own = name.find(".tmp.");  // then the process
      const std::string shown = own == name.npos ? name : name.substr(0, own + 4);
      if (call == base::DiskCall::sync_file) order.push_back("file " + shown);
      if (call == base::DiskCall::sync_folder) order.push_back("folder " + shown);
      if (call == base::DiskCall::rename) order.push_back("rename " + shown);
      return base::DiskFault{};
    });
    store.save(tiny.manifest(10), tiny.files());
    base::set_disk_fault_hook({});
    const std::vector<std::string> written = {"file model.safetensors",
                                              "file optimizer.safetensors", "file manifest.json",
                                              "folder step_00000010.tmp"};
    const std::vector<std::string> named = {"folder checkpoints", "file latest.tmp",
                                            "rename latest", "folder checkpoints"};
    ASSERT_GE(order.size(), written.size() + named.size());
    EXPECT_TRUE(std::ranges::equal(written, std::span(order).first(written.size())));
    EXPECT_TRUE(std::ranges::equal(named, std::span(order).last(named.size())));
    if (replaces) continue;  // by an exchange of two names, which the hook does not see
    EXPECT_EQ(order[written.size()], "rename step_00000010");
  }
}

}  // namespace
}  // namespace ssmax::checkpoint
