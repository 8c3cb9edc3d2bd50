#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace ssmax::kernels {

/// Scratch memory of the calling thread, aligned to 64 bytes, with whatever was in it. Grows to the
/// largest size ever asked for and stays, so that a step allocates nothing after the first. The
/// next call on this thread invalidates it: an op takes it once.
inline void* workspace_bytes(std::int64_t bytes) {
  struct Free {
    void operator()(void* data) const { std::free(data); }
  };
  thread_local std::unique_ptr<void, Free> data;
  thread_local std::int64_t capacity = 0;
  if (bytes > capacity) {
    data.reset();
    capacity = (bytes + 4095) / 4096 * 4096;
    data.reset(std::aligned_alloc(64, static_cast<std::size_t>(capacity)));
    if (data == nullptr) {
      capacity = 0;
      throw std::bad_alloc();
    }
  }
  return data.get();
}

template <class T>
T* workspace(std::int64_t count) {
  return static_cast<T*>(workspace_bytes(count * static_cast<std::int64_t>(sizeof(T))));
}

}  // namespace ssmax::kernels
