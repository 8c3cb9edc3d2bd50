#pragma once

#include <filesystem>
#include <string>

namespace ssmax::checkpoint {

inline constexpr char kLockName[] = "run.lock";

/// Holds a run's folder for one process as long as it lives; the kernel lets go when the process
/// dies, however it does. Taken by rank 0 only, and only its holder may remove the file.
class RunLock {
 public:
  /// Makes the folder. Error(usage) naming the owner's process id, host and start time when another
  /// process holds it; what a dead process left is taken over.
  explicit RunLock(const std::filesystem::path& run_folder);
  ~RunLock();
  RunLock(RunLock&& other) noexcept;
  RunLock& operator=(RunLock&&) = delete;

  /// "" or the owner that the file names: "process 12 on host since 2025-01-01T00:00:00Z".
  static std::string owner(const std::filesystem::path& run_folder);

 private:
  void take(const std::filesystem::path& run_folder, const std::filesystem::path& path);

  int descriptor_ = -1;
};

}  // namespace ssmax::checkpoint
