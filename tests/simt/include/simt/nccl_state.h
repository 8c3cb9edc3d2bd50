#pragma once

// What the emulated NCCL says of itself. The function is weak, and null without the emulator.

namespace ssmax::simt {

/// A result of NCCL: what it says from now on when it is asked how it is; 0, success, as at the
/// start.
[[gnu::weak]] void set_nccl_state(int result);

}  // namespace ssmax::simt
