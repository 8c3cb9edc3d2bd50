#pragma once

#include <cstddef>

namespace ssmax::simt {

/// A stack that runs a function and can be left and entered again. Leaving and entering save what
/// the calling convention asks for and nothing else: no signal mask, no system call.
class Fiber {
 public:
  /// The stack is made once and serves start() after start().
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next enter() calls entry(argument), which must end with a last leave().
  void start(void (*entry)(void*), void* argument);
  /// Runs the fiber until it leaves. Called by the scheduler.
  void enter();
  /// Back to whoever entered. Called from inside.
  void leave();
  /// Whether `address` is on its stack.
  bool holds(const void* address) const;

 private:
  void* stack_ = nullptr;
  void* inside_ = nullptr;   // stack pointer of the fiber while it is not running
  void* outside_ = nullptr;  // stack pointer of the one who entered
};

}  // namespace ssmax::simt
