#include "device/host_memory.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

namespace ssmax::device {

namespace {

namespace fs = std::filesystem;

/// The files of one version of control groups (Linux, cgroup-v1/memory.rst and cgroup-v2.rst).
struct GroupFiles {
  const char* limit;
  const char* usage;
  const char* inactive;  // keys of memory.stat: pages of files, which the system takes back
  const char* active;
};

constexpr GroupFiles kVersion1 = {"memory.limit_in_bytes", "memory.usage_in_bytes",
                                  "total_inactive_file", "total_active_file"};
constexpr GroupFiles kVersion2 = {"memory.max", "memory.current", "inactive_file", "active_file"};

/// The number behind `key`, in lines of a key, a number and perhaps a unit.
std::int64_t value_of(const fs::path& file, const std::string& key) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with(key + " ")) return std::atoll(line.c_str() + key.size());
  }
  return 0;
}

/// Nothing where the file is absent or says "max".
std::optional<std::int64_t> number_in(const fs::path& file) {
  std::ifstream stream(file);
  std::int64_t number = 0;
  if (stream >> number) return number;
  return std::nullopt;
}

/// What one group leaves; the largest number where it has no limit.
std::int64_t room_in(const fs::path& group, const GroupFiles& files) {
  const auto limit = number_in(group / files.limit);
  const auto usage = number_in(group / files.usage);
  if (!limit || !usage) return std::numeric_limits<std::int64_t>::max();
  const fs::path statistics = group / "memory.stat";
  const std::int64_t of_files =
      value_of(statistics, files.inactive) + value_of(statistics, files.active);
  return std::max<std::int64_t>(0, *limit - std::max<std::int64_t>(0, *usage - of_files));
}

/// The least of a group and those it is in, up to the mount. A container may see its own group as
/// the mount and its name as it is outside.
std::int64_t room_below(const fs::path& mount, const std::string& name, const GroupFiles& files) {
  std::int64_t room = room_in(mount, files);
  fs::path group = mount;
  for (const fs::path& part : fs::path(name).relative_path()) {
    group /= part;
    room = std::min(room, room_in(group, files));
  }
  return room;
}

}  // namespace

std::int64_t available_host_bytes(const fs::path& root) {
  std::int64_t available = value_of(root / "proc/meminfo", "MemAvailable:") * 1024;
  const fs::path mounts = root / "sys/fs/cgroup";
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // number:controllers:name
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::string controllers = ",";
    controllers.append(line, first + 1, second - first - 1).append(",");
    const std::string name = line.substr(second + 1);
    if (controllers == ",,") {
      available = std::min(available, room_below(mounts, name, kVersion2));
    } else if (controllers.find(",memory,") != std::string::npos) {
      available = std::min(available, room_below(mounts / "memory", name, kVersion1));
    }
  }
  return available;
}

}  // namespace ssmax::device
