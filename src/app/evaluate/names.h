#pragma once

#include <string>
#include <vector>

#include "checkpoint/load.h"

namespace ssmax::app {

/// What the checkpoints are called in tables and files, where their configs call them `names`:
/// those that share a name by the shortest end of their runs' paths that tells them apart, with the
/// step where they are of one run. 1_b and 2_b, or b_step_00000100 and b_step_00000200. Names stay
/// as they are where nothing tells them apart.
std::vector<std::string> told_apart(std::vector<std::string> names,
                                    const std::vector<checkpoint::LoadedCheckpoint>& checkpoints);

}  // namespace ssmax::app
