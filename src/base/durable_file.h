#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/errors.h"
#include "base/hash.h"

/// Files that must be whole or absent after a crash. Nothing is mapped into memory, so a full disk
/// is an error and not a signal. Every failure is Error(disk) with path, reason, and, where space
/// is short, the bytes needed and free.
namespace ssmax::base {

/// A new file: written in full, then on the disk at commit(). Left open it is closed unsynced.
class DurableFile {
 public:
  /// Creates or truncates `path` and reserves its space, so that a full disk shows at once.
  explicit DurableFile(const std::filesystem::path& path, std::int64_t expected_bytes = 0);
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;
  ~DurableFile();

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  /// Puts other bytes in place of some that are written already, such as a header that counts what
  /// follows it. hash() is not of them: a file that is changed is hashed when it is read.
  void overwrite(std::int64_t offset, std::span<const std::byte> bytes);
  /// Cuts what was reserved and not written, fsync, close. The folder is the caller's to sync.
  void commit();

  std::int64_t bytes_written() const { return written_; }
  /// XXH3-128 of what was given to write(), from memory and not from the disk.
  std::string hash() const { return hasher_.hex(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::int64_t expected_ = 0;
  std::int64_t written_ = 0;
  int descriptor_ = -1;
  Hasher hasher_;
};

/// Appends to a log, one write call per append, so that lines of a killed process are whole or the
/// last one is cut.
class AppendFile {
 public:
  /// Opens or creates `path`.
  explicit AppendFile(const std::filesystem::path& path);
  AppendFile(AppendFile&& other) noexcept;
  AppendFile& operator=(AppendFile&& other) noexcept;
  ~AppendFile();

  void append(std::span<const std::byte> bytes);
  void append(std::string_view text) { append(std::as_bytes(std::span(text))); }
  /// Waits until what was appended is on the disk.
  void sync();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

/// Replaces `path` by `bytes`: temporary file beside it, fsync, rename, fsync of the folder.
/// A reader sees the old or the new content; on failure the old stays and the temporary is removed.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

/// Renames a file or folder and syncs the folder of `to` (and of `from` where it is another).
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

/// Makes the entries of a folder survive a crash.
void sync_folder(const std::filesystem::path& folder);

/// Creates a folder and its parents.
void create_folders(const std::filesystem::path& folder);

/// Bytes that this user may still write where `path` is or would be; throws Error(disk).
std::int64_t free_bytes(const std::filesystem::path& path);

/// The calls of this header that can fail; for tests.
enum class DiskCall { create, preallocate, write, truncate, sync_file, sync_folder, rename };

/// What the hook wants a call to do: fail with `error` (an errno), or, for a write, move at most
/// `max_bytes` >= 1 bytes.
struct DiskFault {
  int error = 0;
  std::int64_t max_bytes = -1;
};

using DiskFaultHook = std::function<DiskFault(DiskCall call, const std::filesystem::path& path)>;

/// Tests only: asked before each call of every thread until it is removed by an empty hook.
void set_disk_fault_hook(DiskFaultHook hook);

}  // namespace ssmax::base
