#include "app/bench/timing.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "base/random.h"
#include "device/parallel.h"
#include "kernels/linear/matmul_limit.h"

namespace ssmax::app {

namespace {

using device::Arena;
using device::DType;
using device::Shape;
using device::Tensor;

double seconds_of(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The best of as many calls as fit in `budget` seconds, at least three; one call warms up.
double best_seconds(const std::function<void()>& run, double budget) {
  double best = seconds_of(run);
  double spent = 0.0;
  for (int call = 0; call < 3 || spent < budget; ++call) {
    const double seconds = seconds_of(run);
    spent += seconds;
    best = std::min(best, seconds);
  }
  return best;
}

/// Bytes per second of a[i] = b[i] + 3 c[i] on arrays far larger than the caches.
double measured_bandwidth() {
  constexpr std::int64_t kCount = std::int64_t{1} << 25;
  Arena arena;
  float* a = arena.allocate("triad", DType::f32, {kCount}).data<float>();
  const float* b = arena.allocate("triad", DType::f32, {kCount}).data<float>();
  const float* c = arena.allocate("triad", DType::f32, {kCount}).data<float>();
  const double seconds = best_seconds(
      [&] {
        device::parallel_for(kCount, 1 << 16, [&](std::int64_t begin, std::int64_t end) {
#pragma omp simd
          for (std::int64_t i = begin; i < end; ++i) a[i] = b[i] + 3.0F * c[i];
        });
      },
      0.3);
  return 3.0 * sizeof(float) * static_cast<double>(kCount) / seconds;
}

}  // namespace

Bench::Bench(const BenchOptions& options)
    : options_(options),
      dtype_(options.dtype == "bf16" ? DType::bf16 : DType::f32),
      arena_(std::make_unique<Arena>()) {}

void Bench::measure_limits() {
  if (bandwidth_ > 0.0) return;
  bandwidth_ = measured_bandwidth();
  product_limit_ = kernels::measured_matmul_limit(stream_, dtype_);
  std::printf("limits of this machine now, %d threads: %.1f GB/s, %.1f GF/s in %s\n",
              device::cpu_threads(), bandwidth_ * 1e-9, product_limit_, options_.dtype.c_str());
  std::printf("(an op whose data stays in the caches can pass the limit of the memory)\n");
}

Tensor Bench::tensor(const Shape& shape, DType dtype) const {
  const Tensor result = arena_->allocate("bench", dtype, shape);
  if (dtype == DType::i32) return result;
  device::dispatch(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* data = result.data<T>();
    for (std::int64_t i = 0; i < shape.elements(); ++i) {
      data[i] = static_cast<T>(static_cast<float>((i * 2654435761U >> 7) % 256 - 128) / 512.0F);
    }
  });
  return result;
}

Tensor Bench::tokens(const Shape& shape) const {
  const Tensor result = tensor(shape, DType::i32);
  for (std::int64_t i = 0; i < shape.elements(); ++i) {
    const std::uint64_t bits = base::random_bits(1, 2, static_cast<std::uint64_t>(i));
    result.data<std::int32_t>()[i] =
        static_cast<std::int32_t>(bits % static_cast<std::uint64_t>(options_.vocabulary));
  }
  return result;
}

void Bench::report(const Timing& timing) const {
  const double seconds = best_seconds(timing.run, options_.seconds);
  const bool multiplies = timing.operations > 0.0;
  const double rate = (multiplies ? timing.operations : timing.bytes) / seconds * 1e-9;
  const double limit = multiplies ? product_limit_ : bandwidth_ * 1e-9;
  std::printf("%-34s %-22s %9.3f ms %9.1f %s %5.0f %%\n", timing.name.c_str(), timing.shape.c_str(),
              seconds * 1e3, rate, multiplies ? "GF/s" : "GB/s", 100.0 * rate / limit);
  std::fflush(stdout);
}

std::string extents(std::int64_t a, std::int64_t b) {
  return std::to_string(a) + " x " + std::to_string(b);
}

double product(std::int64_t a, std::int64_t b) {
  return static_cast<double>(a) * static_cast<double>(b);
}

}  // namespace ssmax::app
