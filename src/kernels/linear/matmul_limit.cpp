#include "kernels/linear/matmul_limit.h"

#include <algorithm>
#include <chrono>

#include "device/arena.h"
#include "kernels/linear/linear.h"

namespace ssmax::kernels {

namespace {

constexpr std::int64_t kSize = 2048;
constexpr int kRepeats = 6;

}  // namespace

double measured_matmul_limit(Stream& stream, DType dtype) {
  using Clock = std::chrono::steady_clock;
  device::Arena arena(stream.device());
  const Tensor x = arena.allocate("matmul limit", dtype, {kSize, kSize});
  const Tensor weight = arena.allocate("matmul limit", dtype, {kSize, kSize});
  const Tensor y = arena.allocate("matmul limit", dtype, {kSize, kSize});
  double best = 0.0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const auto start = Clock::now();
    linear(stream, y, x, weight, {});
    stream.synchronize();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, 2.0 * static_cast<double>(kSize * kSize * kSize) / seconds * 1e-9);
  }
  return best;
}

}  // namespace ssmax::kernels
