#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

#include "base/checked.h"

namespace ssmax::device {

/// Threads that CPU work uses; 0 = all that this process may run on.
void set_cpu_threads(int threads);
int cpu_threads();

/// Calls work(begin, end) over [0, count) cut into tasks of `grain`. The cut does not depend on the
/// number of threads, so a result that is fixed per task is fixed altogether. Runs in place when
/// called from inside another parallel_for. `work` must not throw.
template <class Work>
void parallel_for(std::int64_t count, std::int64_t grain, Work&& work) {
  const std::int64_t tasks = base::div_up(count, grain);
  if (tasks <= 1 || omp_in_parallel()) {
    for (std::int64_t task = 0; task < tasks; ++task) {
      work(task * grain, std::min(count, (task + 1) * grain));
    }
    return;
  }
#pragma omp parallel for schedule(dynamic, 1)
  for (std::int64_t task = 0; task < tasks; ++task) {
    work(task * grain, std::min(count, (task + 1) * grain));
  }
}

}  // namespace ssmax::device
