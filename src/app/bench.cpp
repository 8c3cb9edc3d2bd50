#include "app/bench.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/checked.h"
#include "base/errors.h"
#include "base/random.h"
#include "device/arena.h"
#include "device/parallel.h"
#include "kernels/adamw/adamw.h"
#include "kernels/cast/cast.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/embedding/embedding.h"
#include "kernels/gelu/gelu.h"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/matmul_limit.h"
#include "kernels/norm_squared/norm_squared.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rope/rope.h"
#include "kernels/swiglu/swiglu.h"
#include "normalizers/registry.h"

namespace ssmax::app {

namespace {

using device::Arena;
using device::ConstTensor;
using device::DType;
using device::Shape;
using device::Stream;
using device::Tensor;
using kernels::Write;

struct Options {
  std::vector<std::string> ops;  // names or their beginnings; empty: all
  std::int64_t tokens = 1024;
  std::int64_t sequence_length = 256;
  std::int64_t hidden = 768;
  std::int64_t intermediate = 2048;
  std::int64_t heads = 12;
  std::int64_t vocabulary = 50257;
  std::string dtype = "bf16";
  double seconds = 0.3;
  int threads = 0;
};

/// One thing to time: what it must move (each byte once) or multiply.
struct Measure {
  std::string name;
  std::string shape;
  std::function<void()> run;
  double bytes = 0.0;
  double operations = 0.0;  // of matrix products; counted instead of bytes when above 0
};

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

/// Makes tensors and collects measures; owns the memory of one group of ops.
class Bench {
 public:
  Bench(const Options& options, DType dtype, double bandwidth, double product_limit)
      : options_(options),
        dtype_(dtype),
        bandwidth_(bandwidth),
        product_limit_(product_limit),
        arena_(std::make_unique<Arena>()) {}

  bool wanted(const std::string& name) const {
    return options_.ops.empty() ||
           std::any_of(options_.ops.begin(), options_.ops.end(),
                       [&](const std::string& op) { return name.rfind(op, 0) == 0; });
  }

  /// Small numbers, so that sums over many calls stay finite.
  Tensor tensor(const Shape& shape, DType dtype) const {
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
  Tensor activation(const Shape& shape) const { return tensor(shape, dtype_); }
  Tensor f32(const Shape& shape) const { return tensor(shape, DType::f32); }

  Tensor tokens(const Shape& shape, std::int64_t limit) const {
    const Tensor result = tensor(shape, DType::i32);
    for (std::int64_t i = 0; i < shape.elements(); ++i) {
      const std::uint64_t bits = base::random_bits(1, 2, static_cast<std::uint64_t>(i));
      result.data<std::int32_t>()[i] =
          static_cast<std::int32_t>(bits % static_cast<std::uint64_t>(limit));
    }
    return result;
  }

  void report(const Measure& measure) const {
    const double seconds = best_seconds(measure.run, options_.seconds);
    const bool product = measure.operations > 0.0;
    const double rate = (product ? measure.operations : measure.bytes) / seconds * 1e-9;
    const double limit = product ? product_limit_ : bandwidth_ * 1e-9;
    std::printf("%-34s %-22s %9.3f ms %9.1f %s %5.0f %%\n", measure.name.c_str(),
                measure.shape.c_str(), seconds * 1e3, rate, product ? "GF/s" : "GB/s",
                100.0 * rate / limit);
    std::fflush(stdout);
  }

  /// Frees the tensors of the group.
  void finish() { arena_ = std::make_unique<Arena>(); }

  double element() const { return static_cast<double>(device::size_of(dtype_)); }
  Stream& stream() { return stream_; }

 private:
  const Options& options_;
  DType dtype_;
  double bandwidth_;
  double product_limit_;
  std::unique_ptr<Arena> arena_;
  Stream stream_;
};

std::string text(std::int64_t a, std::int64_t b) {
  return std::to_string(a) + " x " + std::to_string(b);
}

double product(std::int64_t a, std::int64_t b) {
  return static_cast<double>(a) * static_cast<double>(b);
}

void bench_linear(Bench& bench, const Options& o) {
  if (!bench.wanted("linear")) return;
  Stream& stream = bench.stream();
  struct Matrix {
    const char* name;
    std::int64_t K, N;
  };
  for (const auto& [name, K, N] :
       {Matrix{"qkv", o.hidden, 3 * o.hidden}, Matrix{"output", o.hidden, o.hidden},
        Matrix{"gate_up", o.hidden, 2 * o.intermediate}, Matrix{"down", o.intermediate, o.hidden},
        Matrix{"lm_head", o.hidden, o.vocabulary}}) {
    const std::int64_t M = o.tokens;
    const Tensor x = bench.activation({M, K});
    const Tensor weight = bench.activation({N, K});
    const Tensor y = bench.activation({M, N});
    const Tensor gradient = bench.f32({N, K});
    const std::string shape = text(M, K) + " -> " + std::to_string(N);
    const double operations = 2.0 * product(M, K) * static_cast<double>(N);
    const std::string prefix = std::string("linear ") + name;
    bench.report(
        {prefix, shape, [&] { kernels::linear(stream, y, x, weight, {}); }, 0.0, operations});
    bench.report({prefix + " input gradient", shape,
                  [&] { kernels::linear_input_gradient(stream, x, y, weight); }, 0.0, operations});
    bench.report({prefix + " weight gradient", shape,
                  [&] { kernels::linear_weight_gradient(stream, gradient, {}, y, x); }, 0.0,
                  operations});
    bench.finish();
  }
}

void bench_norms(Bench& bench, const Options& o) {
  Stream& stream = bench.stream();
  const std::int64_t M = o.tokens;
  const std::int64_t C = o.hidden;
  const std::string shape = text(M, C);
  const double pass = product(M, C) * bench.element();
  constexpr double kEps = 1e-5;
  const Tensor x = bench.activation({M, C});
  const Tensor delta = bench.activation({M, C});
  const Tensor sum = bench.activation({M, C});
  const Tensor y = bench.activation({M, C});
  const Tensor weight = bench.activation({C});
  const Tensor dweight = bench.f32({C});
  const Tensor dbias = bench.f32({C});
  const Tensor rstd = bench.f32({M});
  const kernels::LayerNormSaved saved{bench.f32({M}), rstd};
  if (bench.wanted("rms_norm")) {
    bench.report({"rms_norm", shape, [&] { kernels::rms_norm(stream, y, rstd, x, weight, kEps); },
                  2 * pass});
    bench.report({"rms_norm add", shape,
                  [&] { kernels::add_rms_norm(stream, sum, y, rstd, x, delta, weight, kEps); },
                  4 * pass});
    bench.report(
        {"rms_norm backward add", shape,
         [&] { kernels::rms_norm_backward(stream, sum, dweight, y, x, weight, rstd, Write::add); },
         4 * pass});
  }
  if (bench.wanted("layer_norm")) {
    bench.report({"layer_norm", shape,
                  [&] { kernels::layer_norm(stream, y, saved, x, weight, weight, kEps); },
                  2 * pass});
    bench.report({"layer_norm backward add", shape,
                  [&] {
                    kernels::layer_norm_backward(stream, sum, dweight, dbias, y, x, weight, saved,
                                                 Write::add);
                  },
                  4 * pass});
  }
  bench.finish();
}

void bench_elementwise(Bench& bench, const Options& o) {
  Stream& stream = bench.stream();
  const std::int64_t M = o.tokens;
  const std::int64_t F = o.intermediate;
  const double pass = product(M, F) * bench.element();
  const Tensor gate_up = bench.activation({M, 2 * F});
  const Tensor dgate_up = bench.activation({M, 2 * F});
  const Tensor out = bench.activation({M, F});
  const Tensor other = bench.activation({M, F});
  const Tensor wide = bench.f32({M, F});
  if (bench.wanted("swiglu")) {
    bench.report({"swiglu", text(M, F), [&] { kernels::swiglu(stream, out, gate_up); }, 3 * pass});
    bench.report({"swiglu backward", text(M, F),
                  [&] { kernels::swiglu_backward(stream, dgate_up, out, gate_up); }, 5 * pass});
  }
  if (bench.wanted("gelu")) {
    bench.report({"gelu", text(M, F), [&] { kernels::gelu(stream, out, other); }, 2 * pass});
    bench.report({"gelu backward", text(M, F),
                  [&] { kernels::gelu_backward(stream, out, other, other); }, 3 * pass});
  }
  if (bench.wanted("cast")) {
    bench.report({"cast from f32", text(M, F), [&] { kernels::cast(stream, out, wide); },
                  pass + product(M, F) * sizeof(float)});
  }
  if (bench.wanted("add")) {
    bench.report({"add", text(M, F), [&] { kernels::add(stream, out, out, other); }, 3 * pass});
  }
  bench.finish();
  if (bench.wanted("rope")) {
    const std::int64_t D = o.hidden / o.heads;
    const std::int64_t batch = o.tokens / o.sequence_length;
    const Tensor qkv = bench.activation({batch, o.sequence_length, 3 * o.heads, D});
    const Tensor table = bench.f32({o.sequence_length, D});
    kernels::rope_table(stream, table, 10000.0);
    bench.report(
        {"rope of q and k", text(M, 2 * o.hidden),
         [&] { kernels::rope(stream, qkv, table, 2 * o.heads, 0, kernels::Turn::forward); },
         4 * product(M, o.hidden) * bench.element()});
    bench.finish();
  }
}

void bench_vocabulary(Bench& bench, const Options& o) {
  Stream& stream = bench.stream();
  const std::int64_t M = o.tokens;
  const std::int64_t C = o.hidden;
  const std::int64_t V = o.vocabulary;
  const Tensor tokens = bench.tokens({o.tokens / o.sequence_length, o.sequence_length}, V);
  if (bench.wanted("embedding")) {
    const Tensor out = bench.activation({M, C});
    const Tensor table = bench.activation({V, C});
    const Tensor gradient = bench.f32({V, C});
    const double pass = product(M, C) * bench.element();
    bench.report({"embedding", text(M, C),
                  [&] { kernels::embedding(stream, out, tokens, table, {}); }, 2 * pass});
    bench.report({"embedding backward", text(M, C),
                  [&] { kernels::embedding_backward(stream, gradient, {}, tokens, out); },
                  pass + 2 * product(M, C) * sizeof(float)});
  }
  if (bench.wanted("cross_entropy")) {
    const Tensor logits = bench.activation({M, V});
    const Tensor losses = bench.f32({M});
    const double pass = product(M, V) * bench.element();
    bench.report({"cross_entropy", text(M, V),
                  [&] { kernels::cross_entropy(stream, losses, logits, tokens); }, pass});
    bench.report(
        {"cross_entropy with gradient", text(M, V),
         [&] { kernels::cross_entropy_with_gradient(stream, losses, logits, tokens, 1e-3); },
         2 * pass});
  }
  bench.finish();
}

void bench_optimizer(Bench& bench, const Options& o) {
  Stream& stream = bench.stream();
  const std::int64_t count = o.hidden * o.vocabulary;
  const std::string shape = std::to_string(count);
  const Tensor gradients = bench.f32({count});
  if (bench.wanted("norm_squared")) {
    const Tensor norm = bench.tensor({1}, DType::f64);
    bench.report({"norm_squared", shape, [&] { kernels::norm_squared(stream, norm, gradients); },
                  product(count, sizeof(float))});
  }
  if (bench.wanted("adamw")) {
    const Tensor scale = bench.f32({1});
    *scale.data<float>() = 1.0F;
    const kernels::AdamwArrays arrays{bench.f32({count}), bench.f32({count}), bench.f32({count}),
                                      bench.tensor({count}, DType::bf16), gradients};
    device::fill_zero(stream, arrays.second_moment);
    const std::vector<kernels::AdamwSegment> segments = {{0, count, 0.1, 0.1, 0.05}};
    bench.report({"adamw with bf16 copy", shape,
                  [&] { kernels::adamw(stream, arrays, scale, segments, {1e-4}); },
                  product(count, 7 * sizeof(float) + 2)});
  }
  bench.finish();
}

void bench_attention(Bench& bench, const Options& o) {
  if (!bench.wanted("attention")) return;
  Stream& stream = bench.stream();
  const std::int64_t T = o.sequence_length;
  const std::int64_t B = o.tokens / T;
  const std::int64_t H = o.heads;
  const std::int64_t D = o.hidden / H;
  for (const normalizers::NormalizerEntry& entry : normalizers::entries()) {
    const auto normalizer = entry.make(entry.options());
    const Tensor qkv = bench.activation({B, T, 3 * H, D});
    const Tensor dqkv = bench.activation({B, T, 3 * H, D});
    const Tensor out = bench.activation({B, T, H, D});
    const Tensor dout = bench.activation({B, T, H, D});
    const auto heads = [&](const Tensor& tensor, std::int64_t first, std::int64_t in_row) {
      return kernels::HeadsView{tensor, first * D, B, T, H, D, T * in_row * D, in_row * D};
    };
    std::vector<ConstTensor> parameters;
    std::vector<Tensor> gradients;
    for (const kernels::NormalizerParameter& parameter : normalizer->parameters()) {
      const bool per_head = parameter.owner == kernels::NormalizerParameter::Owner::head;
      const Tensor values = bench.f32({per_head ? H : T});
      std::fill_n(values.data<float>(), values.elements(), static_cast<float>(parameter.value));
      parameters.push_back(values);
      gradients.push_back(bench.f32(values.shape()));
    }
    const Tensor scale = bench.f32({B, H, T});
    const Tensor dscale = bench.f32({B, H, T});
    const kernels::RowLengths lengths{.first_key = {}, .batch = B, .time = T};
    const kernels::AttentionSaved saved{bench.f32({B, H, T, normalizer->row_values()})};
    const kernels::AttentionInputs inputs{.q = kernels::as_const(heads(qkv, 0, 3 * H)),
                                          .k = kernels::as_const(heads(qkv, H, 3 * H)),
                                          .v = kernels::as_const(heads(qkv, 2 * H, 3 * H)),
                                          .row_scale = scale,
                                          .first_key = {},
                                          .alibi = {}};
    const kernels::AttentionGradients to{heads(dqkv, 0, 3 * H), heads(dqkv, H, 3 * H),
                                         heads(dqkv, 2 * H, 3 * H), dscale};
    const std::string shape = text(B * H, T) + " x " + std::to_string(D);
    // Two products of T^2 / 2 visible pairs; the backward has five.
    const double forward = 2.0 * product(B * H, T) * static_cast<double>(T * D);
    bench.report({"attention " + entry.kind, shape,
                  [&] {
                    normalizer->row_scale(stream, scale, parameters, lengths);
                    normalizer->forward(stream, heads(out, 0, H), saved, inputs, parameters);
                  },
                  0.0, forward});
    bench.report({"attention " + entry.kind + " backward", shape,
                  [&] {
                    normalizer->backward(
                        stream, to, gradients, kernels::as_const(heads(dout, 0, H)),
                        kernels::as_const(heads(out, 0, H)), saved, inputs, parameters);
                    normalizer->row_scale_backward(stream, gradients, dscale, parameters, lengths);
                  },
                  0.0, 2.5 * forward});
    bench.finish();
  }
}

constexpr const char* kOps[] = {
    "linear", "rms_norm",  "layer_norm",    "swiglu",       "gelu",  "cast",     "add",
    "rope",   "embedding", "cross_entropy", "norm_squared", "adamw", "attention"};

void check(const Options& options) {
  for (const std::string& op : options.ops) {
    if (std::find(std::begin(kOps), std::end(kOps), op) != std::end(kOps)) continue;
    std::string known;
    for (const char* name : kOps) known += std::string(" ") + name;
    throw base::Error(base::ErrorKind::usage, "unknown op '" + op + "': expected one of" + known);
  }
  base::div_exact(options.tokens, options.sequence_length, "sequences (tokens / sequence-length)");
  base::div_exact(options.hidden, options.heads, "head size (hidden / heads)");
  base::div_exact(options.hidden / options.heads, 2, "half of the head size");
}

void run(const Options& options) {
  check(options);
  const DType dtype = options.dtype == "bf16" ? DType::bf16 : DType::f32;
  device::set_cpu_threads(options.threads);
  const double bandwidth = measured_bandwidth();
  Stream stream;
  const double product_limit = kernels::measured_matmul_limit(stream, dtype);
  std::printf("limits of this machine now, %d threads: %.1f GB/s, %.1f GF/s in %s\n",
              device::cpu_threads(), bandwidth * 1e-9, product_limit, options.dtype.c_str());
  std::printf("(an op whose data stays in the caches can pass the limit of the memory)\n");
  Bench bench(options, dtype, bandwidth, product_limit);
  bench_linear(bench, options);
  bench_norms(bench, options);
  bench_elementwise(bench, options);
  bench_vocabulary(bench, options);
  bench_optimizer(bench, options);
  bench_attention(bench, options);
}

}  // namespace

void add_bench(CLI::App& program) {
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "bench", "Time every op, with the share of this machine's limits measured in the same run");
  std::string names;
  for (const char* name : kOps) names += std::string(names.empty() ? "" : ", ") + name;
  command->add_option("op", options->ops, "Ops to time (all): " + names);
  command->add_option("--tokens", options->tokens, "Rows")->check(CLI::PositiveNumber);
  command->add_option("--sequence-length", options->sequence_length, "Tokens of one sequence")
      ->check(CLI::PositiveNumber);
  command->add_option("--hidden", options->hidden, "Width of the model")
      ->check(CLI::PositiveNumber);
  command->add_option("--intermediate", options->intermediate, "Width of the MLP")
      ->check(CLI::PositiveNumber);
  command->add_option("--heads", options->heads, "Attention heads")->check(CLI::PositiveNumber);
  command->add_option("--vocab", options->vocabulary, "Size of the vocabulary")
      ->check(CLI::PositiveNumber);
  command->add_option("--dtype", options->dtype, "Activations")
      ->check(CLI::IsMember({"f32", "bf16"}));
  command->add_option("--seconds", options->seconds, "Time to spend on each op");
  command->add_option("--threads", options->threads, "CPU threads (0: all)")
      ->check(CLI::NonNegativeNumber);
  for (CLI::Option* option : command->get_options()) {
    if (option->get_name() != "--help") option->capture_default_str();
  }
  command->callback([options] { run(*options); });
}

}  // namespace ssmax::app
