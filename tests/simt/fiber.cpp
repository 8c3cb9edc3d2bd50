#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

namespace ssmax::simt {

namespace {

constexpr std::size_t kStackBytes = std::size_t{256} << 10;  // touched pages alone take memory

}  // namespace

#if defined(__x86_64__)

// Saves the callee-saved registers on the current stack, its pointer in *from, and goes on where
// `to` was saved: by a jump, since a processor expects a return to follow the last call, which was
// made on another stack.
asm(R"(
.text
.p2align 4
.type ssmax_simt_switch, @function
ssmax_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmpq *%rcx
.size ssmax_simt_switch, .-ssmax_simt_switch
.type ssmax_simt_begin, @function
ssmax_simt_begin:
  movq %r12, %rdi
  callq *%r13
  ud2
.size ssmax_simt_begin, .-ssmax_simt_begin
)");

extern "C" void ssmax_simt_switch(void** from, void* to);
extern "C" void ssmax_simt_begin();

namespace {

/// What ssmax_simt_switch pops: r15, r14, r13, r12, rbx, rbp and the return address. The rest
/// aligns the stack for the call.
void* first_frame(char* top, void (*entry)(void*), void* argument) {
  auto* frame = reinterpret_cast<void**>(top) - 9;
  frame[0] = nullptr;
  frame[1] = nullptr;
  frame[2] = reinterpret_cast<void*>(entry);
  frame[3] = argument;
  frame[4] = nullptr;
  frame[5] = nullptr;
  frame[6] = reinterpret_cast<void*>(&ssmax_simt_begin);
  return frame;
}

}  // namespace

#elif defined(__aarch64__)

asm(R"(
.text
.p2align 4
.type ssmax_simt_switch, @function
ssmax_simt_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size ssmax_simt_switch, .-ssmax_simt_switch
.type ssmax_simt_begin, @function
ssmax_simt_begin:
  mov x0, x19
  blr x20
  brk #1
.size ssmax_simt_begin, .-ssmax_simt_begin
)");

extern "C" void ssmax_simt_switch(void** from, void* to);
extern "C" void ssmax_simt_begin();

namespace {

void* first_frame(char* top, void (*entry)(void*), void* argument) {
  auto* frame = reinterpret_cast<void**>(top) - 20;
  for (int i = 0; i < 20; ++i) frame[i] = nullptr;
  frame[0] = argument;
  frame[1] = reinterpret_cast<void*>(entry);
  frame[11] = reinterpret_cast<void*>(&ssmax_simt_begin);
  return frame;
}

}  // namespace

#else
#error "the emulator switches fibers on x86-64 and AArch64; write the switch of this processor here"
#endif

Fiber::Fiber() {
  stack_ = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack_ == MAP_FAILED) throw std::bad_alloc();
  mprotect(stack_, 4096, PROT_NONE);  // a stack that overflows must not reach its neighbor
}

Fiber::~Fiber() { munmap(stack_, kStackBytes); }

void Fiber::start(void (*entry)(void*), void* argument) {
  inside_ = first_frame(static_cast<char*>(stack_) + kStackBytes, entry, argument);
}

void Fiber::enter() { ssmax_simt_switch(&outside_, inside_); }

void Fiber::leave() { ssmax_simt_switch(&inside_, outside_); }

bool Fiber::holds(const void* address) const {
  const auto* begin = static_cast<const char*>(stack_);
  const auto* at = static_cast<const char*>(address);
  return at >= begin && at < begin + kStackBytes;
}

}  // namespace ssmax::simt
