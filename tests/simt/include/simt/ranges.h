#pragma once

#include <string>
#include <vector>

namespace ssmax::simt {

/// Names, and numbers where there are any, of the ranges begun since the last call, indented by two
/// spaces for each range around them. From this call on ranges are written down.
std::vector<std::string> take_ranges();
/// Ranges that were begun and not ended.
int open_ranges();

}  // namespace ssmax::simt
