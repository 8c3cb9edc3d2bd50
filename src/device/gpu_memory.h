#pragma once

#include <cstdint>

// What the CUDA backend takes beside arenas, for the memory plan.

namespace ssmax::device {

/// A stream's workspace on a GPU is a multiple of this.
inline constexpr std::int64_t kWorkspaceUnit = std::int64_t{1} << 20;

/// Pinned memory of the host that copies between it and a GPU pass through: two slots each way.
inline constexpr std::int64_t kStagingSlotBytes = std::int64_t{4} << 20;
inline constexpr std::int64_t kStagingBytes = 4 * kStagingSlotBytes;

}  // namespace ssmax::device
