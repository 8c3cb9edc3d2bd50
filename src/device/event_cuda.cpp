#include <memory>

#include "device/cuda_backend.h"
#include "device/cuda_check.h"
#include "device/queue.h"

namespace ssmax::device::cuda {

/// What an Event on a GPU holds.
struct Point {
  int gpu = 0;
  cudaEvent_t event = nullptr;
};

Point* create_point(int gpu) {
  use(gpu);
  auto point = std::make_unique<Point>();
  point->gpu = gpu;
  CUDA_CHECK(
      cudaEventCreateWithFlags(&point->event, cudaEventDisableTiming | cudaEventBlockingSync));
  return point.release();
}

void destroy_point(Point* point) {
  (void)cudaEventDestroy(point->event);
  delete point;
}

void record(const Point& point, Queue* queue) {
  use(point.gpu);
  CUDA_CHECK(cudaEventRecord(point.event, queue->stream));
}

void wait(const Point& point) {
  use(point.gpu);
  CUDA_CHECK(cudaEventSynchronize(point.event));
}

bool reached(const Point& point) {
  use(point.gpu);
  const cudaError_t status = cudaEventQuery(point.event);
  if (status == cudaErrorNotReady) {
    (void)cudaGetLastError();  // it is none, but libraries that look would take it for one
    return false;
  }
  check(status, "cudaEventQuery");
  return true;
}

}  // namespace ssmax::device::cuda
