#pragma once

#include <cstdint>

#include "device/gpus.h"
#include "device/stream.h"

/// The CUDA side of this room. Weak: a program without the CUDA backend does not contain it, see
/// is_linked in device/launch.h.
namespace ssmax::device::cuda {

[[gnu::weak]] GpuSearch find_gpus();

[[gnu::weak]] Queue* create_queue(int gpu, Priority priority);
[[gnu::weak]] void destroy_queue(Queue* queue);
[[gnu::weak]] void synchronize(Queue* queue);

struct Point;
[[gnu::weak]] Point* create_point(int gpu);
[[gnu::weak]] void destroy_point(Point* point);
[[gnu::weak]] void record(const Point& point, Queue* queue);
[[gnu::weak]] void wait(const Point& point);
[[gnu::weak]] bool reached(const Point& point);

[[gnu::weak]] void copy(Queue* queue, const Tensor& destination, const ConstTensor& source);
[[gnu::weak]] void copy_rows(Queue* queue, const RowsWithin<Tensor>& destination,
                             const RowsWithin<ConstTensor>& source, std::int64_t count,
                             std::int64_t width);
[[gnu::weak]] void fill_zero(Queue* queue, const Tensor& destination);

/// Zero-filled; null when memory is short.
[[gnu::weak]] void* allocate(int gpu, std::int64_t bytes);
[[gnu::weak]] void release(int gpu, void* data);
[[gnu::weak]] std::int64_t available_bytes(int gpu);

/// Of NVTX; `number` is shown beside the name unless it is below 0.
[[gnu::weak]] void begin_range(const char* name, std::int64_t number);
[[gnu::weak]] void end_range();

}  // namespace ssmax::device::cuda
