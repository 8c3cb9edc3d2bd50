#include "app/bench/timing.h"
#include "base/setting_scope.h"
#include "kernels/adamw/adamw.h"
#include "kernels/cast/cast.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/embedding/embedding.h"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/linear/gelu.h"
#include "kernels/linear/linear.h"
#include "kernels/norm_squared/norm_squared.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rope/rope.h"
#include "kernels/swiglu/swiglu.h"
#include "model/parameter_layout.h"

// M tokens, C channels, F width of the MLP, V vocabulary.

namespace ssmax::app {

namespace {

using device::DType;
using device::Stream;
using device::Tensor;
using kernels::Write;

constexpr double kEps = 1e-5;

/// What the norms and the elementwise ops work on.
struct Rows {
  Rows(Bench& bench, std::int64_t row_size)
      : M(bench.options().tokens),
        C(row_size),
        shape(extents(M, C)),
        pass(product(M, C) * bench.element_bytes()),
        x(bench.activation({M, C})),
        delta(bench.activation({M, C})),
        y(bench.activation({M, C})) {}

  std::int64_t M, C;
  std::string shape;
  double pass;  ///< bytes of one of the tensors
  Tensor x, delta, y;
};

}  // namespace

void bench_linear(Bench& bench) {
  const BenchOptions& o = bench.options();
  Stream& stream = bench.stream();
  struct Matrix {
    const char* name;
    std::int64_t K, N;
  };
  for (const auto& [name, K, N] :
       {Matrix{"qkv", o.hidden, 3 * o.hidden}, Matrix{"output", o.hidden, o.hidden},
        Matrix{"gate_up", o.hidden, 2 * o.intermediate}, Matrix{"down", o.intermediate, o.hidden},
        Matrix{"lm_head", o.hidden, model::padded_vocabulary(o.vocabulary)}}) {
    const std::int64_t M = o.tokens;
    const Tensor x = bench.activation({M, K});
    const Tensor weight = bench.activation({N, K});
    const Tensor y = bench.activation({M, N});
    const Tensor gradient = bench.f32({N, K});
    const std::string shape = extents(M, K) + " -> " + std::to_string(N);
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

/// On a GPU both forms; where the library has no fused kernel the second measures the first again.
void bench_linear_gelu(Bench& bench) {
  const BenchOptions& o = bench.options();
  Stream& stream = bench.stream();
  const std::int64_t M = o.tokens;
  const std::int64_t C = o.hidden;
  const std::int64_t F = o.intermediate;
  const Tensor x = bench.activation({M, C});
  const Tensor weight = bench.activation({F, C});
  const Tensor bias = bench.activation({F});
  const Tensor preactivation = bench.activation({M, F});
  const Tensor hidden = bench.activation({M, F});
  const Tensor down = bench.activation({C, F});
  const double operations = 2.0 * product(M, C) * static_cast<double>(F);
  const auto time = [&](const std::string& name, const std::string& shape,
                        const std::function<kernels::GeluForm()>& run) {
    const char* form = run() == kernels::GeluForm::fused ? ", fused" : ", separate";
    bench.report({bench.on_gpu() ? name + form : name, shape, run, 0.0, operations});
  };
  std::vector<kernels::GeluFusion> fusions = {kernels::GeluFusion::automatic};
  if (bench.on_gpu()) fusions = {kernels::GeluFusion::off, kernels::GeluFusion::on};
  for (const kernels::GeluFusion fusion : fusions) {
    const base::SettingScope scope(kernels::set_gelu_fusion, fusion);
    time("linear, gelu", extents(M, C) + " -> " + std::to_string(F),
         [&] { return kernels::linear_gelu(stream, hidden, preactivation, x, weight, bias); });
    time("gelu, linear input gradient", extents(M, F) + " -> " + std::to_string(C), [&] {
      return kernels::gelu_linear_input_gradient(stream, hidden, x, down, preactivation);
    });
  }
}

void bench_rms_norm(Bench& bench) {
  Stream& stream = bench.stream();
  const Rows r(bench, bench.options().hidden);
  const Tensor weight = bench.activation({r.C});
  const Tensor sum = bench.activation({r.M, r.C});
  const Tensor dweight = bench.f32({r.C});
  const Tensor rstd = bench.f32({r.M});
  bench.report({"rms_norm", r.shape,
                [&] { kernels::rms_norm(stream, r.y, rstd, r.x, weight, kEps); }, 2 * r.pass});
  bench.report({"rms_norm add", r.shape,
                [&] { kernels::add_rms_norm(stream, sum, r.y, rstd, r.x, r.delta, weight, kEps); },
                4 * r.pass});
  bench.report({"rms_norm backward add", r.shape,
                [&] {
                  kernels::rms_norm_backward(stream, sum, dweight, r.y, r.x, weight, rstd,
                                             Write::add);
                },
                4 * r.pass});
}

void bench_layer_norm(Bench& bench) {
  Stream& stream = bench.stream();
  const Rows r(bench, bench.options().hidden);
  const Tensor weight = bench.activation({r.C});
  const Tensor sum = bench.activation({r.M, r.C});
  const Tensor dweight = bench.f32({r.C});
  const Tensor dbias = bench.f32({r.C});
  const kernels::LayerNormSaved saved{bench.f32({r.M}), bench.f32({r.M})};
  bench.report({"layer_norm", r.shape,
                [&] { kernels::layer_norm(stream, r.y, saved, r.x, weight, weight, kEps); },
                2 * r.pass});
  bench.report({"layer_norm add", r.shape,
                [&] {
                  kernels::add_layer_norm(stream, sum, r.y, saved, r.x, r.delta, weight, weight,
                                          kEps);
                },
                4 * r.pass});
  bench.report({"layer_norm backward add", r.shape,
                [&] {
                  kernels::layer_norm_backward(stream, sum, dweight, dbias, r.y, r.x, weight, saved,
                                               Write::add);
                },
                4 * r.pass});
}

void bench_swiglu(Bench& bench) {
  const Rows gate_up(bench, 2 * bench.options().intermediate);
  const Rows r(bench, bench.options().intermediate);
  bench.report(
      {"swiglu", r.shape, [&] { kernels::swiglu(bench.stream(), r.y, gate_up.x); }, 3 * r.pass});
  bench.report({"swiglu backward", r.shape,
                [&] { kernels::swiglu_backward(bench.stream(), gate_up.y, r.y, gate_up.x); },
                5 * r.pass});
}

void bench_gelu(Bench& bench) {
  const Rows r(bench, bench.options().intermediate);
  bench.report({"gelu", r.shape, [&] { kernels::gelu(bench.stream(), r.y, r.x); }, 2 * r.pass});
  bench.report({"gelu backward", r.shape,
                [&] { kernels::gelu_backward(bench.stream(), r.y, r.x, r.x); }, 3 * r.pass});
}

void bench_cast(Bench& bench) {
  const Rows r(bench, bench.options().intermediate);
  const Tensor wide = bench.f32({r.M, r.C});
  bench.report({"cast from f32", r.shape, [&] { kernels::cast(bench.stream(), r.y, wide); },
                r.pass + product(r.M, r.C) * sizeof(float)});
}

void bench_add(Bench& bench) {
  const Rows r(bench, bench.options().intermediate);
  bench.report({"add", r.shape, [&] { kernels::add(bench.stream(), r.y, r.y, r.x); }, 3 * r.pass});
}

void bench_rope(Bench& bench) {
  const BenchOptions& o = bench.options();
  const std::int64_t D = o.hidden / o.heads;
  const std::int64_t batch = o.tokens / o.sequence_length;
  const Tensor qkv = bench.activation({batch, o.sequence_length, 3 * o.heads, D});
  const Tensor table = bench.f32({o.sequence_length, D});
  kernels::rope_table(bench.stream(), table, 10000.0);
  bench.report(
      {"rope of q and k", extents(o.tokens, 2 * o.hidden),
       [&] { kernels::rope(bench.stream(), qkv, table, 2 * o.heads, 0, kernels::Turn::forward); },
       4 * product(o.tokens, o.hidden) * bench.element_bytes()});
}

void bench_embedding(Bench& bench) {
  const BenchOptions& o = bench.options();
  const Tensor tokens = bench.tokens({o.tokens / o.sequence_length, o.sequence_length});
  const Rows r(bench, o.hidden);
  const Tensor table = bench.activation({o.vocabulary, o.hidden});
  const Tensor gradient = bench.f32({o.vocabulary, o.hidden});
  bench.report({"embedding", r.shape,
                [&] { kernels::embedding(bench.stream(), r.y, tokens, table, {}); }, 2 * r.pass});
  bench.report({"embedding backward", r.shape,
                [&] { kernels::embedding_backward(bench.stream(), gradient, {}, tokens, r.y); },
                r.pass + 2 * product(r.M, r.C) * sizeof(float)});
}

void bench_cross_entropy(Bench& bench) {
  const BenchOptions& o = bench.options();
  const Tensor targets = bench.tokens({o.tokens});
  const Tensor logits = bench.activation({o.tokens, model::padded_vocabulary(o.vocabulary)});
  const Tensor losses = bench.f32({o.tokens});
  const std::string shape = extents(o.tokens, o.vocabulary);
  const double pass = product(o.tokens, o.vocabulary) * bench.element_bytes();
  bench.report(
      {"cross_entropy", shape,
       [&] { kernels::cross_entropy(bench.stream(), losses, logits, targets, o.vocabulary); },
       pass});
  bench.report({"cross_entropy with gradient", shape,
                [&] {
                  kernels::cross_entropy_with_gradient(bench.stream(), losses, logits, targets,
                                                       o.vocabulary, 1e-3);
                },
                2 * pass});
}

void bench_norm_squared(Bench& bench) {
  const std::int64_t count = bench.options().hidden * bench.options().vocabulary;
  const Tensor gradients = bench.f32({count});
  const Tensor norm = bench.tensor({1}, DType::f64);
  bench.report({"norm_squared", std::to_string(count),
                [&] { kernels::norm_squared(bench.stream(), norm, gradients); },
                product(count, sizeof(float))});
}

void bench_adamw(Bench& bench) {
  const std::int64_t count = bench.options().hidden * bench.options().vocabulary;
  const Tensor scale = bench.constant({1}, 1.0);
  const kernels::AdamwArrays arrays{bench.f32({count}), bench.f32({count}), bench.f32({count}),
                                    bench.tensor({count}, DType::bf16), bench.f32({count})};
  device::fill_zero(bench.stream(), arrays.second_moment);
  const std::vector<kernels::AdamwSegment> segments = {{0, count, 0.1, 0.1, 0.05}};
  bench.report({"adamw with bf16 copy", std::to_string(count),
                [&] { kernels::adamw(bench.stream(), arrays, scale, segments, {1e-4}); },
                product(count, 7 * sizeof(float) + 2)});
}

}  // namespace ssmax::app
