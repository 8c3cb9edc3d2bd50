#include "base/partial_folder.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <fstream>

#include "base/durable_file.h"
#include "support/temporary_folder.h"

namespace ssmax::base {
namespace {

namespace fs = std::filesystem;

class PartialFolders : public testing::Test {
 protected:
  static void write(const fs::path& path) { std::ofstream(path) << "text"; }

  fs::path out() const { return folder_.path() / "out"; }
  fs::path partial() const { return folder_.path() / "out.partial"; }

  support::TemporaryFolder folder_;
};

TEST_F(PartialFolders, AppearWhenCommitted) {
  PartialFolder folder(out());
  EXPECT_EQ(folder.path(), partial());
  write(folder.path() / "a");
  EXPECT_FALSE(fs::exists(out()));
  folder.commit();
  EXPECT_TRUE(fs::exists(out() / "a"));
  EXPECT_FALSE(fs::exists(partial()));
}

TEST_F(PartialFolders, LeaveNothingWhenTheyFail) {
  {
    const PartialFolder folder(out());
    write(folder.path() / "a");
  }
  EXPECT_FALSE(fs::exists(partial()));
  EXPECT_FALSE(fs::exists(out()));
}

TEST_F(PartialFolders, LeaveNothingWhenTheyCannotBeRenamed) {
  set_disk_fault_hook([](DiskCall call, const fs::path&) {
    return DiskFault{call == DiskCall::rename ? EIO : 0, -1};
  });
  EXPECT_THROW(
      {
        PartialFolder folder(out());
        folder.commit();
      },
      Error);
  set_disk_fault_hook({});
  EXPECT_FALSE(fs::exists(partial()));
}

TEST_F(PartialFolders, RemoveWhatAnInterruptedTryLeft) {
  fs::create_directories(partial() / "deep");
  write(partial() / "deep" / "old");
  fs::create_directories(out());  // empty, so it may be replaced
  PartialFolder folder(out() / "");
  EXPECT_TRUE(fs::is_empty(partial()));
  folder.commit();
  EXPECT_TRUE(fs::is_empty(out()));
}

TEST_F(PartialFolders, AreRefusedWhereSomethingIs) {
  fs::create_directories(out());
  write(out() / "a");
  for (const fs::path& there : {out(), out() / "a"}) {
    try {
      const PartialFolder folder(there);
      FAIL() << there;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
    }
  }
  EXPECT_TRUE(fs::exists(out() / "a"));
  EXPECT_FALSE(fs::exists(partial()));
}

}  // namespace
}  // namespace ssmax::base
