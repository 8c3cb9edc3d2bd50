// ThreadSanitizer sees threads meet in pthreads' calls only, and libgomp meets by the kernel's own.
// Linked with --wrap=GOMP_parallel, so that what stands before a parallel region happens before its
// work, and that before what stands behind it.
#include <sanitizer/tsan_interface.h>

namespace {

struct Region {
  void (*work)(void*);
  void* data;
};

void run(void* argument) {
  __tsan_acquire(argument);
  const auto* region = static_cast<const Region*>(argument);
  region->work(region->data);
  __tsan_release(argument);
}

}  // namespace

extern "C" {

// The names are the linker's.
// NOLINTBEGIN(readability-identifier-naming)
void __real_GOMP_parallel(void (*work)(void*), void* data, unsigned threads, unsigned flags);

void __wrap_GOMP_parallel(void (*work)(void*), void* data, unsigned threads, unsigned flags) {
  Region region{work, data};
  __tsan_release(&region);
  __real_GOMP_parallel(run, &region, threads, flags);
  __tsan_acquire(&region);
}
// NOLINTEND(readability-identifier-naming)
}
