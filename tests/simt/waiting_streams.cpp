#include "simt/deferral.h"

// Linked into the program and the test programs of the rooms: from their start work waits in its
// stream, so that whoever reads without waiting finds old numbers.

namespace {

[[maybe_unused]] const bool kWaiting = [] {
  ssmax::simt::set_deferred(true);
  return true;
}();

}  // namespace
