#include <cstddef>

#include "simt/traffic.h"

// What g++ -fsanitize=thread calls before every load and store: the counters of traffic in place of
// the sanitizer's library, which is not linked.

namespace {

using ssmax::simt::Access;
using ssmax::simt::touch;

/// A range goes in the widest accesses that its address allows.
void touch_range(Access access, const void* address, std::size_t bytes, const void* code) {
  const auto* at = static_cast<const char*>(address);
  for (std::size_t done = 0; done < bytes;) {
    std::size_t width = 16;
    while (width > bytes - done || reinterpret_cast<std::uintptr_t>(at + done) % width != 0) {
      width /= 2;
    }
    touch(access, at + done, width, code);
    done += width;
  }
}

}  // namespace

extern "C" {

void __tsan_init() {}
void __tsan_vptr_update(void** /*pointer*/, void* /*value*/) {}

void __tsan_read1(void* a) { touch(Access::load, a, 1, __builtin_return_address(0)); }
void __tsan_read2(void* a) { touch(Access::load, a, 2, __builtin_return_address(0)); }
void __tsan_read4(void* a) { touch(Access::load, a, 4, __builtin_return_address(0)); }
void __tsan_read8(void* a) { touch(Access::load, a, 8, __builtin_return_address(0)); }
void __tsan_read16(void* a) { touch(Access::load, a, 16, __builtin_return_address(0)); }
void __tsan_read_range(void* a, std::size_t bytes) {
  touch_range(Access::load, a, bytes, __builtin_return_address(0));
}

void __tsan_write1(void* a) { touch(Access::store, a, 1, __builtin_return_address(0)); }
void __tsan_write2(void* a) { touch(Access::store, a, 2, __builtin_return_address(0)); }
void __tsan_write4(void* a) { touch(Access::store, a, 4, __builtin_return_address(0)); }
void __tsan_write8(void* a) { touch(Access::store, a, 8, __builtin_return_address(0)); }
void __tsan_write16(void* a) { touch(Access::store, a, 16, __builtin_return_address(0)); }
void __tsan_write_range(void* a, std::size_t bytes) {
  touch_range(Access::store, a, bytes, __builtin_return_address(0));
}

}  // extern "C"
