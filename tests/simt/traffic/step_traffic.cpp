#include "step_traffic.h"

#include <utility>

#include "app/bench/timing.h"
#include "kernels/linear/linear.h"
#include "simt/races.h"

namespace ssmax {

namespace {

std::vector<simt::OpTraffic>& counted() {
  static std::vector<simt::OpTraffic> ops;
  return ops;
}

}  // namespace

/// In place of the program's: one call, and counts instead of seconds.
void app::Bench::report(const Timing& timing) {
  simt::start_counting();
  simt::check_races([&] {
    timing.run();
    stream_.synchronize();
  });
  counted().push_back({timing.name, timing.shape, timing.bytes, simt::stop_counting()});
}

namespace simt {

namespace {

using app::Bench;
using app::BenchOptions;

/// The sums over rows of dy are the bias gradient's own; the product is a library's.
void bench_bias_gradient(Bench& bench) {
  const std::int64_t M = bench.options().tokens;
  const std::int64_t N = 3 * bench.options().hidden;
  constexpr std::int64_t K = 8;
  const auto dy = bench.activation({M, N});
  const auto x = bench.activation({M, K});
  const auto dweight = bench.f32({N, K});
  const auto dbias = bench.f32({N});
  bench.report({"linear bias gradient", app::extents(M, N),
                [&] { kernels::linear_weight_gradient(bench.stream(), dweight, dbias, dy, x); },
                app::product(M, N) * bench.element_bytes() + 8.0 * static_cast<double>(N)});
}

std::vector<OpTraffic> count(const BenchOptions& options,
                             std::initializer_list<void (*)(Bench&)> ops) {
  Bench bench(options);
  for (auto* op : ops) {
    op(bench);
    bench.finish();
  }
  return std::exchange(counted(), {});
}

}  // namespace

std::uint64_t OpTraffic::moved() const {
  std::uint64_t sum = 0;
  for (const KernelTraffic& kernel : kernels) sum += kernel.moved();
  return sum;
}

std::vector<OpTraffic> count_row_ops() {
  BenchOptions options;
  options.device = device::DeviceKind::cuda;
  options.tokens = 256;
  options.vocabulary = 2003;  // odd, as 50,257 is
  std::vector<OpTraffic> ops =
      count(options, {app::bench_embedding, app::bench_rms_norm, app::bench_layer_norm,
                      bench_bias_gradient, app::bench_rope, app::bench_swiglu, app::bench_gelu,
                      app::bench_cast, app::bench_add, app::bench_cross_entropy});
  options.vocabulary = 256;
  for (OpTraffic& op : count(options, {app::bench_norm_squared, app::bench_adamw})) {
    ops.push_back(std::move(op));
  }
  return ops;
}

std::vector<OpTraffic> count_attention(const std::string& normalizer, std::int64_t head_size) {
  BenchOptions options;
  options.device = device::DeviceKind::cuda;
  options.tokens = 384;
  options.sequence_length = 384;
  options.heads = 2;
  options.hidden = options.heads * head_size;
  options.normalizers = {normalizer};
  return count(options, {app::bench_attention});
}

}  // namespace simt
}  // namespace ssmax
