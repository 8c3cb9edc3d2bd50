#include "app/bench/timing.h"

#include <algorithm>
#include <cstdio>

#include "base/clock.h"
#include "base/durable_file.h"
#include "device/gpus.h"
#include "device/parallel.h"
#include "kernels/linear/matmul_limit.h"

namespace ssmax::app {

namespace {

using device::Arena;
using device::DType;
using device::Tensor;

/// Of queued work a round lasts this long, beside which launching the first call and waiting for
/// the last are nothing.
constexpr double kRoundSeconds = 5e-3;

}  // namespace

/// The best of as many rounds as fit in `budget` seconds, at least three; one call warms up. A
/// round is one call on the CPU, and on a GPU as many as it takes for the wait to count for
/// nothing.
double Bench::best_seconds(const std::function<void()>& run, double budget) {
  const auto seconds_of = [&](std::int64_t calls) {
    const base::Stopwatch watch;
    for (std::int64_t call = 0; call < calls; ++call) run();
    stream_.synchronize();
    return watch.seconds() / static_cast<double>(calls);
  };
  double best = seconds_of(1);
  std::int64_t calls = 1;
  if (on_gpu()) {
    best = seconds_of(1);  // the first has loaded the kernels
    calls = std::clamp<std::int64_t>(static_cast<std::int64_t>(kRoundSeconds / best), 1, 1000);
  }
  double spent = 0.0;
  for (int round = 0; round < 3 || spent < budget; ++round) {
    const double seconds = seconds_of(calls);
    spent += seconds * static_cast<double>(calls);
    best = std::min(best, seconds);
  }
  return best;
}

/// Bytes per second on arrays far larger than the caches: a[i] = b[i] + 3 c[i] on the CPU, copies
/// on a GPU.
double Bench::measured_bandwidth() {
  if (on_gpu()) {
    const std::int64_t count = device::multiprocessors(stream_.device()) << 21;
    Arena arena(stream_.device());
    const Tensor from = arena.allocate("copy", DType::f32, {count});
    const Tensor to = arena.allocate("copy", DType::f32, {count});
    const double seconds = best_seconds([&] { device::copy(stream_, to, from); }, options_.seconds);
    return 2.0 * static_cast<double>(from.bytes()) / seconds;
  }
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

void Bench::measure_limits() {
  if (bandwidth_ > 0.0) return;
  bandwidth_ = measured_bandwidth();
  product_limit_ = kernels::measured_matmul_limit(stream_, options_.dtype);
  const std::string dtype(device::name_of(options_.dtype));
  if (on_gpu()) {
    std::printf("limits of %s now: %.1f GB/s, %.1f TF/s in %s\n",
                device::describe(stream_.device()).c_str(), bandwidth_ * 1e-9,
                product_limit_ * 1e-12, dtype.c_str());
  } else {
    std::printf("limits of this machine now, %d threads: %.1f GB/s, %.1f GF/s in %s\n",
                device::cpu_threads(), bandwidth_ * 1e-9, product_limit_ * 1e-9, dtype.c_str());
  }
  std::printf("(an op whose data stays in the caches can pass the limit of the memory)\n");
  base::JsonValue line = base::JsonValue::object();
  line.add("name", base::JsonValue::of(std::string("limits")));
  line.add("device", base::JsonValue::of(device::describe(stream_.device())));
  line.add("bytes_per_second", base::JsonValue::of(bandwidth_));
  line.add("flop_per_second", base::JsonValue::of(product_limit()));
  record(line);
}

void Bench::report(const Timing& timing) {
  const double seconds = best_seconds(timing.run, options_.seconds);
  const bool multiplies = timing.operations > 0.0;
  const double rate = (multiplies ? timing.operations : timing.bytes) / seconds;
  const double share = rate / (multiplies ? product_limit() : bandwidth_);
  const bool tera = multiplies && on_gpu();
  std::printf("%-48s %-22s %9.3f ms %9.1f %s %5.0f %%\n", timing.name.c_str(), timing.shape.c_str(),
              seconds * 1e3, rate * (tera ? 1e-12 : 1e-9),
              !multiplies ? "GB/s"
              : tera      ? "TF/s"
                          : "GF/s",
              100.0 * share);
  std::fflush(stdout);
  base::JsonValue line = base::JsonValue::object();
  line.add("name", base::JsonValue::of(timing.name));
  line.add("shape", base::JsonValue::of(timing.shape));
  line.add("seconds", base::JsonValue::of(seconds));
  line.add(multiplies ? "flop_per_second" : "bytes_per_second", base::JsonValue::of(rate));
  line.add("share_of_limit", base::JsonValue::of(share));
  record(line);
}

void Bench::write_results() const {
  if (options_.json.empty()) return;
  base::write_file_atomically(options_.json, base::to_text(results_) + "\n");
}

}  // namespace ssmax::app
