#include "simt/races.h"

// Linked into test programs whose kernels call touch(): every launch is checked for races.

namespace {

[[maybe_unused]] const bool kChecking = ssmax::simt::checking_races = true;

}  // namespace
