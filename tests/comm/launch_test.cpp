#include "comm/launch.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>
#include <map>

#include "base/errors.h"

namespace ssmax::comm {
namespace {

/// The environment with these launcher's variables alone, until the end of the scope.
class Environment {
 public:
  explicit Environment(const std::map<std::string, std::string>& set) {
    for (const char* name :
         {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "RANK", "WORLD_SIZE", "MASTER_ADDR",
          "MASTER_PORT", "PMI_RANK", "PMI_SIZE", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"}) {
      if (const char* value = std::getenv(name)) former_[name] = value;
      unsetenv(name);
      names_.emplace_back(name);
    }
    for (const auto& [name, value] : set) setenv(name.c_str(), value.c_str(), 1);
  }
  ~Environment() {
    for (const std::string& name : names_) unsetenv(name.c_str());
    for (const auto& [name, value] : former_) setenv(name.c_str(), value.c_str(), 1);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  std::vector<std::string> names_;
  std::map<std::string, std::string> former_;
};

TEST(Launch, AloneWithoutALauncher) {
  const Environment environment({});
  const Launch launch = detect_launch();
  EXPECT_EQ(launch.launcher, Launcher::none);
  EXPECT_EQ(launch.size, 1);
  EXPECT_EQ(open(launch)->transport(), "solo");
}

TEST(Launch, OpenMpi) {
  const Environment environment({{"OMPI_COMM_WORLD_RANK", "5"}, {"OMPI_COMM_WORLD_SIZE", "8"}});
  const Launch launch = detect_launch();
  EXPECT_EQ(launch.launcher, Launcher::mpirun);
  EXPECT_EQ(launch.rank, 5);
  EXPECT_EQ(launch.size, 8);
  EXPECT_EQ(launch.text, "mpirun (OMPI_COMM_WORLD_RANK)");
}

TEST(Launch, Slurm) {
  const Environment environment({{"SLURM_PROCID", "3"}, {"SLURM_STEP_NUM_TASKS", "16"}});
  const Launch launch = detect_launch();
  EXPECT_EQ(launch.launcher, Launcher::srun);
  EXPECT_EQ(launch.rank, 3);
  EXPECT_EQ(launch.size, 16);
}

TEST(Launch, Torchrun) {
  const Environment environment({{"RANK", "3"}, {"WORLD_SIZE", "4"}});
  const Launch launch = detect_launch();
  EXPECT_EQ(launch.launcher, Launcher::torchrun);
  EXPECT_EQ(launch.rank, 3);
  EXPECT_THROW(open(launch), base::Error);  // nobody says where rank 0 is
}

/// A batch script has a rank of its own, but nothing was started by srun.
TEST(Launch, ABatchScriptOfSlurmIsAlone) {
  const std::map<std::string, std::string> variables = {{"SLURM_PROCID", "0"}};
  const Environment environment(variables);
  EXPECT_EQ(detect_launch().size, 1);
}

TEST(Launch, NonsenseIsRefused) {
  for (const auto& [rank, size] : {std::pair{"x", "2"}, {"2", "2"}, {"-1", "2"}, {"1", ""}}) {
    const Environment environment({{"PMI_RANK", rank}, {"PMI_SIZE", size}});
    EXPECT_THROW(detect_launch(), base::Error) << rank << " of " << size;
  }
}

TEST(CoreShare, ARankAloneKeepsItsCores) {
  const CoreShare share = bind_to_share(solo());
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof(set), &set);
  EXPECT_EQ(share.threads(), CPU_COUNT(&set));
  EXPECT_FALSE(share.bound);
}

}  // namespace
}  // namespace ssmax::comm
