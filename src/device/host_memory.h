#pragma once

#include <cstdint>
#include <filesystem>

namespace ssmax::device {

/// Bytes of the host's memory that this process could still take: what the system has available, or
/// less where a control group (a container, a batch job) allows less. `root` is where /proc and
/// /sys are.
std::int64_t available_host_bytes(const std::filesystem::path& root = "/");

}  // namespace ssmax::device
