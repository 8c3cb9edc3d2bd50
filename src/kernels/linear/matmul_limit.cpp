#include "kernels/linear/matmul_limit.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "device/arena.h"
#include "kernels/linear/linear.h"

namespace ssmax::kernels {

namespace {

// Large enough that packing and threads cost nothing, small enough for a start-up: 4 GF a call.
constexpr std::int64_t kRows = 2048;
constexpr std::int64_t kWidth = 1024;
constexpr int kRepeats = 4;

double measure(Stream& stream, DType dtype) {
  using Clock = std::chrono::steady_clock;
  device::Arena arena(stream.device());
  const Tensor x = arena.allocate("matmul limit", dtype, {kRows, kWidth});
  const Tensor weight = arena.allocate("matmul limit", dtype, {kWidth, kWidth});
  const Tensor y = arena.allocate("matmul limit", dtype, {kRows, kWidth});
  double best = 0.0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const auto start = Clock::now();
    linear(stream, y, x, weight, {});
    stream.synchronize();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, 2.0 * static_cast<double>(kRows * kWidth * kWidth) / seconds * 1e-9);
  }
  return best;
}

}  // namespace

double measured_matmul_limit(Stream& stream, DType dtype) {
  static std::map<DType, double> measured;
  const auto [entry, is_new] = measured.try_emplace(dtype, 0.0);
  if (is_new) entry->second = measure(stream, dtype);
  return entry->second;
}

}  // namespace ssmax::kernels
