#include "checkpoint/load.h"

#include <random>

#include "checkpoint/checkpoint_fixture.h"

namespace ssmax::checkpoint {
namespace {

/// Two checkpoints of different content; what damages the newer one must lead to the older.
class LoadTest : public testing::Test {
 protected:
  void SetUp() override {
    store_.prepare(0);
    store_.save(older_.manifest(10), older_.files());
    store_.save(newer_.manifest(20), newer_.files());
  }

  fs::path file(const char* name) const { return folder_ / "step_00000020" / name; }

  void expect_falls_back(const fs::path& damaged, const std::string& how) {
    const auto checkpoint = load_newest(run_.path());
    ASSERT_TRUE(checkpoint) << how;
    EXPECT_EQ(checkpoint->manifest().step, 10) << how;
    ASSERT_EQ(checkpoint->warnings().size(), 1U) << how;
    EXPECT_NE(checkpoint->warnings()[0].find(damaged.string()), std::string::npos)
        << how << ": " << checkpoint->warnings()[0];
  }

  TemporaryFolder run_;
  const fs::path folder_ = checkpoints_folder(run_.path());
  CheckpointStore store_{run_.path(), 2};
  TinyRun older_{1}, newer_{2};
};

TEST_F(LoadTest, takes_the_newest) {
  const auto checkpoint = load_newest(run_.path());
  ASSERT_TRUE(checkpoint);
  EXPECT_TRUE(checkpoint->warnings().empty());
  EXPECT_EQ(checkpoint->manifest().step, 20);
  expect_holds(*checkpoint, newer_);
}

TEST_F(LoadTest, the_hint_is_not_believed) {
  write_all(folder_ / "latest", "step_00000010\n");
  EXPECT_EQ(load(run_.path()).manifest().step, 20);
  fs::remove(folder_ / "latest");
  EXPECT_EQ(load(run_.path()).manifest().step, 20);
}

TEST_F(LoadTest, no_flipped_bit_is_loaded) {
  constexpr unsigned kSeed = 20240607;
  std::mt19937 random(kSeed);
  for (const char* name : {"model.safetensors", "optimizer.safetensors", "manifest.json"}) {
    const fs::path path = file(name);
    const std::string whole = read_all(path);
    // Half of the flips of a tensor file go to its header, which is a small part of it.
    std::uint64_t header = 0;
    std::memcpy(&header, whole.data(), sizeof(header));
    for (int flip = 0; flip < 400; ++flip) {
      const bool in_header = name != std::string("manifest.json") && flip % 2 == 0;
      const std::size_t bytes = in_header ? static_cast<std::size_t>(header) + 8 : whole.size();
      const std::size_t bit = random() % (bytes * 8);
      std::string flipped = whole;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
      write_all(path, flipped);
      expect_falls_back(path, std::string(name) + " bit " + std::to_string(bit) + " seed " +
                                  std::to_string(kSeed));
      if (HasFatalFailure()) return;
    }
    write_all(path, whole);
  }
  EXPECT_EQ(load(run_.path()).manifest().step, 20);
  // The one that it fell back to is whole.
  expect_holds(load(folder_ / "step_00000010"), older_);
}

TEST_F(LoadTest, no_truncation_is_loaded) {
  for (const char* name : {"model.safetensors", "optimizer.safetensors", "manifest.json"}) {
    const fs::path path = file(name);
    const std::string whole = read_all(path);
    for (std::size_t size = 0; size < whole.size(); size += 4096) {
      write_all(path, whole.substr(0, size));
      expect_falls_back(path, std::string(name) + " cut to " + std::to_string(size));
    }
    write_all(path, whole.substr(0, whole.size() - 1));
    expect_falls_back(path, std::string(name) + " without its last byte");
    write_all(path, whole + '\0');
    expect_falls_back(path, std::string(name) + " with a byte more");
    fs::remove(path);
    expect_falls_back(path, std::string(name) + " removed");
    write_all(path, whole);
  }
}

TEST_F(LoadTest, a_checkpoint_under_another_name_is_damaged) {
  fs::rename(folder_ / "step_00000010", folder_ / "step_00000030");
  const auto checkpoint = load_newest(run_.path());
  ASSERT_TRUE(checkpoint);
  EXPECT_EQ(checkpoint->manifest().step, 20);
  EXPECT_EQ(checkpoint->warnings().size(), 1U);
}

TEST_F(LoadTest, none_valid_is_an_error_and_no_fresh_start) {
  fs::remove(file(kManifestName));
  fs::resize_file(folder_ / "step_00000010" / kModelFile, 1000);
  const std::string error = checkpoint_error([&] { load_newest(run_.path()); });
  EXPECT_NE(error.find(file(kManifestName).string()), std::string::npos) << error;
  EXPECT_NE(error.find("bytes, found 1000"), std::string::npos) << error;
}

TEST_F(LoadTest, of_those_that_are_wanted_the_newest) {
  const auto up_to = [&](std::int64_t step) {
    return load_newest(run_.path(), Verify::hashes,
                       [&](const Manifest& manifest) { return manifest.step <= step; });
  };
  EXPECT_EQ(up_to(20)->manifest().step, 20);
  EXPECT_EQ(up_to(15)->manifest().step, 10);
  EXPECT_FALSE(up_to(5));
  fs::resize_file(folder_ / "step_00000010" / kModelFile, 1000);
  EXPECT_FALSE(up_to(15));  // the other one is good, and not wanted
}

TEST_F(LoadTest, a_run_without_checkpoints_starts) {
  const TemporaryFolder empty;
  EXPECT_FALSE(load_newest(empty.path()));
  EXPECT_FALSE(load_newest(empty.path() / "absent"));
  fs::create_directories(empty.path() / "checkpoints" / "step_00000010.tmp.1");
  EXPECT_FALSE(load_newest(empty.path()));
}

TEST_F(LoadTest, an_explicit_path_is_a_checkpoint_or_a_run) {
  EXPECT_EQ(load(folder_ / "step_00000010").manifest().step, 10);
  EXPECT_EQ(load(run_.path()).manifest().step, 20);
  // Also away from its run and under a name of the user's.
  fs::copy(folder_ / "step_00000010", run_.path() / "mine");
  expect_holds(load(run_.path() / "mine"), older_);
  // A checkpoint that was named is not exchanged for another.
  fs::resize_file(file(kModelFile), 1000);
  EXPECT_NE(checkpoint_error([&] { load(folder_ / "step_00000020"); }), "");
  fs::remove(file(kManifestName));
  EXPECT_NE(checkpoint_error([&] { load(folder_ / "step_00000020"); }).find(kManifestName),
            std::string::npos);
  EXPECT_EQ(load(run_.path()).manifest().step, 10);
  const TemporaryFolder empty;
  EXPECT_NE(checkpoint_error([&] { load(empty.path()); }).find("found neither"), std::string::npos);
  EXPECT_NE(checkpoint_error([&] { load(empty.path() / "absent"); }).find("found nothing"),
            std::string::npos);
  EXPECT_NE(checkpoint_error([&] { load(file(kOptimizerFile)); }).find("found a file"),
            std::string::npos);
}

TEST_F(LoadTest, verification_names_every_file) {
  const Manifest manifest = read_manifest(file(kManifestName));
  EXPECT_TRUE(verify_files(manifest, file(".").parent_path()).empty());
  fs::resize_file(file(kModelFile), 1000);
  fs::remove(file(kOptimizerFile));
  EXPECT_EQ(verify_files(manifest, file(".").parent_path()).size(), 2U);
}

}  // namespace
}  // namespace ssmax::checkpoint
