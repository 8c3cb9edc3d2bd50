#include "device/parallel.h"

namespace ssmax::device {

void set_cpu_threads(int threads) {
  omp_set_num_threads(threads > 0 ? threads : omp_get_num_procs());
}

int cpu_threads() { return omp_get_max_threads(); }

}  // namespace ssmax::device
