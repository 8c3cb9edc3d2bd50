#pragma once

// When the work of streams is done. Read by tests of every program: the function is weak, and null
// where there is no emulated device.

namespace ssmax::simt {

/// On: kernels and copies wait in their stream until somebody waits for them, for an event behind
/// them or for the stream, so that whoever uses results without waiting finds old numbers. Off, as
/// at the start: everything is done when its call returns, which names a kernel that fails.
[[gnu::weak]] void set_deferred(bool on);

}  // namespace ssmax::simt
