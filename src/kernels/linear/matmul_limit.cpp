#include "kernels/linear/matmul_limit.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "device/arena.h"
#include "device/gpus.h"
#include "kernels/linear/linear.h"

namespace ssmax::kernels {

namespace {

constexpr int kRepeats = 4;
/// A GPU that was idle takes some milliseconds to raise its clock, and a product takes one.
constexpr double kGpuSeconds = 0.05;

struct Size {
  std::int64_t rows, width;
};

/// Large enough that packing and threads cost nothing, small enough for a start-up: 4 GF a call on
/// a CPU, a TF on a GPU of its full size.
Size size_for(device::Device device) {
  if (device.kind == device::DeviceKind::cpu) return {2048, 1024};
  const std::int64_t width =
      std::clamp<std::int64_t>(128 * device::multiprocessors(device), 256, 8192);
  return {width, width};
}

/// Numbers of both signs and many magnitudes: a GPU multiplies zeros faster than numbers.
void fill(Stream& stream, const Tensor& x) {
  std::vector<float> values(static_cast<std::size_t>(x.elements()));
  std::uint32_t state = 1;
  for (float& value : values) {
    state = state * 1664525U + 1013904223U;
    value = static_cast<float>(state >> 8) * 0x1p-23F - 1.0F;
  }
  device::dispatch(x.dtype(), [&]<class T>(device::Tag<T>) {
    const std::vector<T> rounded(values.begin(), values.end());
    device::copy(stream, x, device::view(rounded.data(), x.shape()));
  });
}

double measure(Stream& stream, DType dtype) {
  const auto [rows, width] = size_for(stream.device());
  device::Arena arena(stream.device());
  const Tensor x = arena.allocate("matmul limit", dtype, {rows, width});
  const Tensor weight = arena.allocate("matmul limit", dtype, {width, width});
  const Tensor y = arena.allocate("matmul limit", dtype, {rows, width});
  fill(stream, x);
  fill(stream, weight);
  const double least = stream.device().kind == device::DeviceKind::cpu ? 0.0 : kGpuSeconds;
  double best = 0.0;
  double spent = 0.0;
  for (int repeat = 0; repeat < kRepeats || spent < least; ++repeat) {
    const base::Stopwatch watch;
    linear(stream, y, x, weight, {});
    stream.synchronize();
    const double seconds = watch.seconds();
    spent += seconds;
    best = std::max(best, 2.0 * static_cast<double>(rows * width * width) / seconds);
  }
  return best;
}

}  // namespace

double measured_matmul_limit(Stream& stream, DType dtype) {
  static std::map<std::pair<DType, device::DeviceKind>, double> measured;
  const auto [entry, is_new] = measured.try_emplace(std::pair(dtype, stream.device().kind), 0.0);
  if (is_new) entry->second = measure(stream, dtype);
  return entry->second;
}

}  // namespace ssmax::kernels
