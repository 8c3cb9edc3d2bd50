#include "checkpoint/checkpoint_store.h"

#include <cerrno>
#include <limits>

#include "base/durable_file.h"
#include "base/hash.h"
#include "checkpoint/checkpoint_fixture.h"

namespace ssmax::checkpoint {
namespace {

using Names = std::vector<std::string>;

class CheckpointStoreTest : public testing::Test {
 protected:
  TemporaryFolder run_;
  const fs::path folder_ = checkpoints_folder(run_.path());
  CheckpointStore store_{run_.path(), 2};
  TinyRun tiny_;
};

TEST_F(CheckpointStoreTest, saves_all_that_the_contract_names) {
  EXPECT_TRUE(store_.prepare(estimated_bytes(tiny_.files())).empty());
  const SaveReport report = store_.save(tiny_.manifest(1000), tiny_.files());
  EXPECT_TRUE(report.warnings.empty());
  EXPECT_EQ(report.folder, run_.path() / "checkpoints" / "step_00001000");
  EXPECT_EQ(names_in(folder_), (Names{"latest", "step_00001000"}));
  EXPECT_EQ(read_all(folder_ / "latest"), "step_00001000\n");
  EXPECT_EQ(names_in(report.folder),
            (Names{"manifest.json", "model.safetensors", "optimizer.safetensors"}));

  const Manifest manifest = read_manifest(report.folder / kManifestName);
  std::int64_t bytes = 0;
  for (const WrittenFile& file : manifest.files) {
    const std::string content = read_all(report.folder / file.name);
    EXPECT_EQ(file.bytes, static_cast<std::int64_t>(content.size()));
    EXPECT_EQ(file.xxh3_128, base::hash_hex(content));
    bytes += file.bytes;
  }
  EXPECT_EQ(report.bytes, bytes);
  EXPECT_GE(estimated_bytes(tiny_.files()),
            bytes + static_cast<std::int64_t>(fs::file_size(report.folder / kManifestName)));
  expect_holds(LoadedCheckpoint(report.folder), tiny_);
}

TEST_F(CheckpointStoreTest, keeps_the_newest) {
  store_.prepare(0);
  for (const std::int64_t step : {10, 20, 30, 100000000}) {
    EXPECT_TRUE(store_.save(tiny_.manifest(step), tiny_.files()).warnings.empty());
  }
  EXPECT_EQ(names_in(folder_), (Names{"latest", "step_00000030", "step_100000000"}));
  EXPECT_EQ(step_folders(run_.path()).front().filename(), "step_100000000");
}

TEST_F(CheckpointStoreTest, newer_ones_neither_count_nor_go) {
  store_.prepare(0);
  for (const std::int64_t step : {10, 20, 50, 60}) store_.save(tiny_.manifest(step), tiny_.files());
  EXPECT_EQ(names_in(folder_), (Names{"latest", "step_00000050", "step_00000060"}));
  // A run that had to go back and saves its first checkpoint again.
  store_.save(tiny_.manifest(30), tiny_.files());
  EXPECT_EQ(names_in(folder_),
            (Names{"latest", "step_00000030", "step_00000050", "step_00000060"}));
}

TEST_F(CheckpointStoreTest, replaces_the_same_step) {
  store_.prepare(0);
  store_.save(tiny_.manifest(10), tiny_.files());
  const TinyRun other(2);
  EXPECT_TRUE(store_.save(other.manifest(10), other.files()).warnings.empty());
  EXPECT_EQ(names_in(folder_), (Names{"latest", "step_00000010"}));
  expect_holds(load(run_.path()), other);
}

TEST_F(CheckpointStoreTest, a_folder_with_checkpoints_is_none_for_another_run) {
  require_no_checkpoints(run_.path());
  require_no_checkpoints(run_.path() / "not_there_yet");
  store_.save(tiny_.manifest(10), tiny_.files());
  EXPECT_THROW(require_no_checkpoints(run_.path()), base::Error);
}

TEST_F(CheckpointStoreTest, prepare_removes_what_dead_runs_left_and_nothing_else) {
  store_.prepare(0);
  store_.save(tiny_.manifest(10), tiny_.files());
  const Names left = {"step_00000020.tmp.123", ".trash-step_00000001.99", "latest.tmp.1.0",
                      "probe.tmp.file"};
  for (const std::string& name : left) {
    fs::create_directories(folder_ / name);
    write_all(folder_ / name / "model.safetensors", "half");
  }
  fs::create_directories(folder_ / "notes.tmp.mine");
  write_all(folder_ / "readme.txt", "mine");
  // Half-written folders are never candidates, cleaned or not.
  EXPECT_EQ(step_folders(run_.path()).size(), 1U);
  EXPECT_TRUE(store_.prepare(0).empty());
  EXPECT_EQ(names_in(folder_), (Names{"latest", "notes.tmp.mine", "readme.txt", "step_00000010"}));
  expect_holds(load(run_.path()), tiny_);
}

TEST_F(CheckpointStoreTest, prepare_refuses_a_disk_that_is_too_small) {
  const std::int64_t petabytes = std::int64_t{1} << 60;
  const std::string error = error_of(base::ErrorKind::disk, [&] { store_.prepare(petabytes); });
  for (const char* part : {"checkpoints", "3 checkpoints", "need", "free", "checkpoint.keep"}) {
    EXPECT_NE(error.find(part), std::string::npos) << part << " in " << error;
  }
}

TEST_F(CheckpointStoreTest, prepare_needs_room_for_one_more_than_is_kept) {
  const std::int64_t bytes = base::free_bytes(run_.path()) / 5 * 2;  // 3 of them do not fit, 2 do
  EXPECT_NE(error_of(base::ErrorKind::disk, [&] { store_.prepare(bytes); }), "");
  // The room of those that are there counts: they go before the disk is full.
  const fs::path old = folder_ / "step_00000001";
  fs::create_directories(old);
  write_all(old / kModelFile, "");
  fs::resize_file(old / kModelFile, static_cast<std::uintmax_t>(bytes));  // sparse
  store_.prepare(bytes);
}

TEST_F(CheckpointStoreTest, prepare_refuses_a_folder_that_cannot_be_written) {
  base::set_disk_fault_hook([](base::DiskCall call, const fs::path&) {
    return call == base::DiskCall::write ? base::DiskFault{.error = EIO} : base::DiskFault{};
  });
  EXPECT_NE(error_of(base::ErrorKind::disk, [&] { store_.prepare(0); }), "");
  base::set_disk_fault_hook({});
  fs::remove_all(run_.path() / "checkpoints");
  write_all(run_.path() / "checkpoints", "a file where the folder should be");
  const std::string error = error_of(base::ErrorKind::disk, [&] { store_.prepare(0); });
  EXPECT_NE(error.find((run_.path() / "checkpoints").string()), std::string::npos) << error;
  // Nor can anybody say that there is no checkpoint.
  EXPECT_NE(error_of(base::ErrorKind::disk, [&] { load_newest(run_.path()); }), "");
}

TEST_F(CheckpointStoreTest, keep_below_two_is_refused) {
  EXPECT_NE(error_of(base::ErrorKind::usage, [&] { CheckpointStore(run_.path(), 1); }), "");
}

TEST_F(CheckpointStoreTest, a_failed_removal_is_a_warning) {
  store_.prepare(0);
  store_.save(tiny_.manifest(10), tiny_.files());
  store_.save(tiny_.manifest(20), tiny_.files());
  base::set_disk_fault_hook([](base::DiskCall call, const fs::path& path) {
    const bool trash = path.filename().string().starts_with(".trash-");
    return call == base::DiskCall::rename && trash ? base::DiskFault{.error = EACCES}
                                                   : base::DiskFault{};
  });
  const SaveReport report = store_.save(tiny_.manifest(30), tiny_.files());
  base::set_disk_fault_hook({});
  ASSERT_EQ(report.warnings.size(), 1U);
  EXPECT_NE(report.warnings[0].find("step_00000010"), std::string::npos) << report.warnings[0];
  expect_holds(load(run_.path()), tiny_);
}

TEST_F(CheckpointStoreTest, old_ones_stay_while_the_new_one_may_be_lost) {
  store_.prepare(0);
  store_.save(tiny_.manifest(10), tiny_.files());
  store_.save(tiny_.manifest(20), tiny_.files());
  base::set_disk_fault_hook([&](base::DiskCall call, const fs::path& path) {
    const bool names = call == base::DiskCall::sync_folder && path == folder_;
    return names ? base::DiskFault{.error = EIO} : base::DiskFault{};
  });
  const SaveReport report = store_.save(tiny_.manifest(30), tiny_.files());
  base::set_disk_fault_hook({});
  ASSERT_EQ(report.warnings.size(), 1U);
  EXPECT_NE(report.warnings[0].find("old checkpoints stay"), std::string::npos);
  EXPECT_EQ(step_folders(run_.path()).size(), 3U);
}

TEST(StepFolderName, there_and_back) {
  for (const std::int64_t step :
       {std::int64_t{0}, std::int64_t{7}, std::int64_t{99999999}, std::int64_t{100000000},
        std::numeric_limits<std::int64_t>::max()}) {
    EXPECT_EQ(step_of_folder_name(step_folder_name(step)), step);
  }
  for (const char* name : {"step_", "step_1", "step_-0000001", "step_000000010", "step_0000001x",
                           "step_00000010.tmp.3", "step_99999999999999999999", "latest", ""}) {
    EXPECT_EQ(step_of_folder_name(name), -1) << name;
  }
}

}  // namespace
}  // namespace ssmax::checkpoint
