#include "base/durable_file.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "base/format.h"

namespace ssmax::base {
namespace {

std::mutex fault_mutex;
std::atomic<bool> fault_set{false};
DiskFaultHook fault_hook;

DiskFault fault_for(DiskCall call, const std::filesystem::path& path) {
  if (!fault_set.load(std::memory_order_acquire)) return {};
  const std::lock_guard lock(fault_mutex);
  return fault_hook ? fault_hook(call, path) : DiskFault{};
}

/// Runs `call`, which returns as the system does, unless the hook wants it to fail.
template <class Call>
auto system_call(DiskCall kind, const std::filesystem::path& path, const Call& call) {
  if (const DiskFault fault = fault_for(kind, path); fault.error != 0) {
    errno = fault.error;
    return decltype(call()){-1};
  }
  return call();
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  const std::filesystem::path folder = path.parent_path();
  return folder.empty() ? std::filesystem::path(".") : folder;
}

[[noreturn]] void fail(const char* action, const std::filesystem::path& path, int error,
                       std::int64_t needed = 0) {
  std::string message =
      std::string("cannot ") + action + ' ' + path.string() + ": " + std::strerror(error);
  if (error == ENOSPC || error == EDQUOT) {
    message += "; ";
    if (needed > 0) message += format_bytes(needed) + " needed, ";
    try {
      message += format_bytes(free_bytes(folder_of(path))) + " free";
    } catch (const Error&) {
      message += "free space unknown";
    }
    message += "; make room or choose another folder";
  }
  throw Error(ErrorKind::disk, message);
}

/// `write` moves as many of the bytes as it can, from `done` on, and returns as the system does.
template <class Write>
void write_all(const std::filesystem::path& path, std::span<const std::byte> bytes,
               const Write& write) {
  std::int64_t done = 0;
  // Linux moves at most 2 GiB - 4 KiB in one call.
  constexpr std::size_t kMaxChunk = std::size_t{1} << 30;
  while (!bytes.empty()) {
    std::size_t count = std::min(bytes.size(), kMaxChunk);
    ssize_t moved = -1;
    if (const DiskFault fault = fault_for(DiskCall::write, path); fault.error != 0) {
      errno = fault.error;
    } else {
      if (fault.max_bytes >= 0) count = std::min(count, static_cast<std::size_t>(fault.max_bytes));
      moved = write(bytes.first(count), done);
    }
    if (moved < 0 && errno == EINTR) continue;
    if (moved < 0) fail("write", path, errno, static_cast<std::int64_t>(bytes.size()));
    bytes = bytes.subspan(static_cast<std::size_t>(moved));
    done += moved;
  }
}

void append_all(int descriptor, const std::filesystem::path& path,
                std::span<const std::byte> bytes) {
  write_all(path, bytes, [&](std::span<const std::byte> part, std::int64_t /*done*/) {
    return ::write(descriptor, part.data(), part.size());
  });
}

/// Some file systems and devices know no fsync and say so with EINVAL.
void sync_descriptor(int descriptor, DiskCall kind, const std::filesystem::path& path) {
  while (system_call(kind, path, [&] { return ::fsync(descriptor); }) != 0) {
    if (errno == EINTR) continue;
    if (errno == EINVAL || errno == ENOTSUP) return;
    fail("sync", path, errno);
  }
}

int open_file(const std::filesystem::path& path, int flags) {
  const int descriptor = system_call(DiskCall::create, path,
                                     [&] { return ::open(path.c_str(), flags | O_CLOEXEC, 0666); });
  if (descriptor < 0) fail("create", path, errno);
  return descriptor;
}

/// fallocate and not posix_fallocate: the latter writes to every block where the file system
/// cannot reserve.
void preallocate(int descriptor, const std::filesystem::path& path, std::int64_t bytes) {
  if (bytes <= 0) return;
  while (system_call(DiskCall::preallocate, path,
                     [&] { return ::fallocate(descriptor, 0, 0, bytes); }) != 0) {
    if (errno == EINTR) continue;
    if (errno != EOPNOTSUPP && errno != ENOSYS) fail("reserve space for", path, errno, bytes);
    if (free_bytes(path) < bytes) fail("reserve space for", path, ENOSPC, bytes);
    return;
  }
}

}  // namespace

void set_disk_fault_hook(DiskFaultHook hook) {
  const std::lock_guard lock(fault_mutex);
  fault_hook = std::move(hook);
  fault_set.store(static_cast<bool>(fault_hook), std::memory_order_release);
}

DurableFile::DurableFile(const std::filesystem::path& path, std::int64_t expected_bytes)
    : path_(path), expected_(expected_bytes) {
  descriptor_ = open_file(path, O_WRONLY | O_CREAT | O_TRUNC);
  try {
    preallocate(descriptor_, path, expected_);
  } catch (...) {
    // No destructor runs after a constructor that throws.
    ::close(descriptor_);
    throw;
  }
}

DurableFile::~DurableFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void DurableFile::write(std::span<const std::byte> bytes) {
  append_all(descriptor_, path_, bytes);
  hasher_.update(bytes);
  written_ += static_cast<std::int64_t>(bytes.size());
}

void DurableFile::overwrite(std::int64_t offset, std::span<const std::byte> bytes) {
  if (offset < 0 || offset + static_cast<std::int64_t>(bytes.size()) > written_) {
    throw std::logic_error("only what is written can be overwritten");
  }
  write_all(path_, bytes, [&](std::span<const std::byte> part, std::int64_t done) {
    return ::pwrite(descriptor_, part.data(), part.size(), offset + done);
  });
}

void DurableFile::commit() {
  if (written_ < expected_ && system_call(DiskCall::truncate, path_, [&] {
                                return ::ftruncate(descriptor_, written_);
                              }) != 0) {
    fail("truncate", path_, errno);
  }
  sync_descriptor(descriptor_, DiskCall::sync_file, path_);
  // After fsync only network file systems can still report a lost write here.
  if (::close(std::exchange(descriptor_, -1)) != 0 && errno != EINTR) fail("close", path_, errno);
}

AppendFile::AppendFile(const std::filesystem::path& path)
    : path_(path), descriptor_(open_file(path, O_WRONLY | O_CREAT | O_APPEND)) {}

AppendFile::AppendFile(AppendFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

AppendFile& AppendFile::operator=(AppendFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

AppendFile::~AppendFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void AppendFile::append(std::span<const std::byte> bytes) { append_all(descriptor_, path_, bytes); }

void AppendFile::sync() { sync_descriptor(descriptor_, DiskCall::sync_file, path_); }

void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  // Threads and processes that write the same file must not share the temporary one.
  static std::atomic<int> number{0};
  std::filesystem::path temporary = path;
  temporary += ".tmp." + std::to_string(::getpid()) + '.' + std::to_string(number++);
  try {
    DurableFile file(temporary, static_cast<std::int64_t>(bytes.size()));
    file.write(bytes);
    file.commit();
    rename_durably(temporary, path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (system_call(DiskCall::rename, to, [&] { return ::rename(from.c_str(), to.c_str()); }) != 0) {
    fail(("rename " + from.string() + " to").c_str(), to, errno);
  }
  sync_folder(folder_of(to));
  if (folder_of(from) != folder_of(to)) sync_folder(folder_of(from));
}

void sync_folder(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail("open the folder", folder, errno);
  try {
    sync_descriptor(descriptor, DiskCall::sync_folder, folder);
  } catch (...) {
    ::close(descriptor);
    throw;
  }
  ::close(descriptor);
}

void create_folders(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail("create the folder", folder, error.value());
}

std::int64_t free_bytes(const std::filesystem::path& path) {
  std::filesystem::path at = path.empty() ? std::filesystem::path(".") : path;
  struct statvfs status {};
  while (::statvfs(at.c_str(), &status) != 0) {
    const int error = errno;
    const std::filesystem::path above = folder_of(at);
    if (error != ENOENT || above == at) {
      throw Error(ErrorKind::disk, "cannot examine the file system of " + path.string() + ": " +
                                       std::strerror(error));
    }
    at = above;
  }
  return static_cast<std::int64_t>(status.f_bavail) * static_cast<std::int64_t>(status.f_frsize);
}

}  // namespace ssmax::base
