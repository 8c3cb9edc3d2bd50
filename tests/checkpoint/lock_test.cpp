#include "checkpoint/lock.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "checkpoint/checkpoint_fixture.h"

namespace ssmax::checkpoint {
namespace {

TEST(RunLock, a_second_run_is_refused_with_the_owner) {
  const TemporaryFolder run;
  std::optional<RunLock> lock(std::in_place, run.path() / "new");
  const std::string error =
      error_of(base::ErrorKind::usage, [&] { RunLock second(run.path() / "new"); });
  EXPECT_NE(error.find("process " + std::to_string(::getpid()) + " on "), std::string::npos)
      << error;
  EXPECT_NE(error.find((run.path() / "new").string()), std::string::npos) << error;
  lock.reset();
  RunLock third(run.path() / "new");
}

TEST(RunLock, a_move_keeps_it) {
  const TemporaryFolder run;
  RunLock first(run.path());
  const RunLock second(std::move(first));
  EXPECT_NE(error_of(base::ErrorKind::usage, [&] { RunLock third(run.path()); }), "");
}

TEST(RunLock, what_a_killed_process_left_is_taken_over) {
  const TemporaryFolder run;
  std::array<int, 2> ready{};
  ASSERT_EQ(::pipe(ready.data()), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const RunLock lock(run.path());
    if (::write(ready[1], "x", 1) != 1) ::_exit(1);
    ::pause();
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  const std::string error = error_of(base::ErrorKind::usage, [&] { RunLock lock(run.path()); });
  EXPECT_NE(error.find("process " + std::to_string(child) + " on "), std::string::npos) << error;
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ready[0]);
  ::close(ready[1]);
  EXPECT_TRUE(RunLock::owner(run.path()).starts_with("process " + std::to_string(child)));
  const RunLock lock(run.path());
  EXPECT_TRUE(RunLock::owner(run.path()).starts_with("process " + std::to_string(::getpid())));
}

}  // namespace
}  // namespace ssmax::checkpoint
