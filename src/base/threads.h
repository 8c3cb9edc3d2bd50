#pragma once

namespace ssmax::base {

/// Threads that somebody may ask for: more than any machine has cores, and few enough to start.
inline constexpr int kMostThreads = 4096;

}  // namespace ssmax::base
