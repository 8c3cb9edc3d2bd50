#include "device/host_memory.h"

#include <gtest/gtest.h>

#include "support/files.h"
#include "support/temporary_folder.h"

namespace ssmax::device {
namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20;

class HostMemory : public testing::Test {
 protected:
  void write(const std::string& file, const std::string& text) {
    std::filesystem::create_directories((root_ / file).parent_path());
    support::write_all(root_ / file, text);
  }
  void SetUp() override {
    write("proc/meminfo", "MemTotal:  204800 kB\nMemAvailable:  102400 kB\nSwapFree: 7 kB\n");
  }
  std::int64_t available() { return available_host_bytes(root_.path()); }

  support::TemporaryFolder root_;
};

TEST_F(HostMemory, IsWhatTheSystemHas) {
  EXPECT_EQ(available(), 100 * kMiB);
  write("proc/self/cgroup", "0::/\n");
  EXPECT_EQ(available(), 100 * kMiB);
}

TEST_F(HostMemory, AContainerMayHaveLess) {
  write("proc/self/cgroup", "0::/\n");
  write("sys/fs/cgroup/memory.max", "31457280\n");
  write("sys/fs/cgroup/memory.current", "15728640\n");
  write("sys/fs/cgroup/memory.stat", "anon 1\ninactive_file 4194304\nactive_file 1048576\n");
  EXPECT_EQ(available(), 20 * kMiB);  // 30 less 15, of which 5 are of files
  write("sys/fs/cgroup/memory.max", "max\n");
  EXPECT_EQ(available(), 100 * kMiB);
}

TEST_F(HostMemory, TheTightestOfNestedGroupsCounts) {
  write("proc/self/cgroup", "0::/job/step\n");
  write("sys/fs/cgroup/job/memory.max", "20971520\n");
  write("sys/fs/cgroup/job/memory.current", "31457280\n");  // it was lowered meanwhile
  write("sys/fs/cgroup/job/step/memory.max", "max\n");
  write("sys/fs/cgroup/job/step/memory.current", "1048576\n");
  EXPECT_EQ(available(), 0);
  write("sys/fs/cgroup/job/memory.current", "10485760\n");
  EXPECT_EQ(available(), 10 * kMiB);
}

TEST_F(HostMemory, TheFirstVersionOfGroupsIsReadToo) {
  write("proc/self/cgroup", "5:cpu,memory:/job\n1:name=systemd:/job\n0::/\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("sys/fs/cgroup/memory/memory.usage_in_bytes", "1048576\n");
  EXPECT_EQ(available(), 100 * kMiB);
  write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "52428800\n");
  write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "20971520\n");
  write("sys/fs/cgroup/memory/job/memory.stat", "inactive_file 1\ntotal_inactive_file 10485760\n");
  EXPECT_EQ(available(), 40 * kMiB);
}

}  // namespace
}  // namespace ssmax::device
