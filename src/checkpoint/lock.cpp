#include "checkpoint/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "base/durable_file.h"
#include "base/errors.h"
#include "comm/launch.h"

namespace ssmax::checkpoint {

namespace {

/// Whether whoever held it before has removed the file, so that holding it means nothing.
bool is_removed(int descriptor) {
  struct stat file = {};
  return ::fstat(descriptor, &file) == 0 && file.st_nlink == 0;
}

}  // namespace

RunLock::RunLock(const std::filesystem::path& run_folder) {
  const std::filesystem::path path = run_folder / kLockName;
  do {
    if (descriptor_ >= 0) ::close(descriptor_);
    take(run_folder, path);
  } while (is_removed(descriptor_));
  const std::string text = "process " + std::to_string(::getpid()) + " on " + comm::host_name() +
                           " since " + base::utc_time() + "\n";
  // Only people read it: the lock itself does not depend on the text.
  if (::ftruncate(descriptor_, 0) != 0 ||
      ::pwrite(descriptor_, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    const int error = errno;
    ::close(std::exchange(descriptor_, -1));
    throw base::Error(base::ErrorKind::disk,
                      "cannot write " + path.string() + ": " + std::strerror(error));
  }
}

void RunLock::take(const std::filesystem::path& run_folder, const std::filesystem::path& path) {
  base::create_folders(run_folder);
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) {
    throw base::Error(base::ErrorKind::disk,
                      "cannot create " + path.string() + ": " + std::strerror(errno));
  }
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  const int error = errno;
  ::close(std::exchange(descriptor_, -1));
  if (error != EWOULDBLOCK) {
    throw base::Error(base::ErrorKind::disk, "cannot lock " + path.string() + ": " +
                                                 std::strerror(error) +
                                                 "; choose a folder on a local disk");
  }
  const std::string holder = owner(run_folder);
  throw base::Error(base::ErrorKind::usage,
                    run_folder.string() + ": another run is at work here: " +
                        (holder.empty() ? "a process that is just starting" : holder) +
                        "; stop it or choose another folder");
}

RunLock::~RunLock() {
  // The file stays, as does the folder of a run; see RunFolder for one that did not begin.
  if (descriptor_ >= 0) ::close(descriptor_);
}

RunLock::RunLock(RunLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

std::string RunLock::owner(const std::filesystem::path& run_folder) {
  const int descriptor = ::open((run_folder / kLockName).c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return "";
  std::array<char, 512> text{};
  const ssize_t count = ::pread(descriptor, text.data(), text.size(), 0);
  ::close(descriptor);
  const std::string whole(text.data(), static_cast<std::size_t>(count > 0 ? count : 0));
  return whole.substr(0, whole.find('\n'));
}

}  // namespace ssmax::checkpoint
