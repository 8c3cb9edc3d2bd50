#pragma once

#include <functional>

namespace ssmax::simt {

inline bool checking_races = false;

/// Runs `work` with every launch checked for races, where kernels are compiled so that their loads
/// and stores call touch() (tests/simt/traffic). Two accesses of one place, of which one writes,
/// need a barrier of the block between them, or of the warp when both are of one warp; a shuffle
/// orders nothing, and nothing orders what different blocks of a launch do. A place that cp.async
/// writes is nobody's from the call to the wait, and from then on this thread's alone. What
/// ldmatrix reads is read by all lanes. A launch with a race throws Violation when it ends; blocks
/// run one after the other.
void check_races(const std::function<void()>& work);

}  // namespace ssmax::simt
