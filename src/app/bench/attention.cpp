#include "app/bench/timing.h"
#include "base/setting_scope.h"
#include "normalizers/registry.h"

namespace ssmax::app {

using device::ConstTensor;
using device::Stream;
using device::Tensor;

std::string suffix(kernels::AttentionForm form) {
  return form == kernels::AttentionForm::automatic ? "" : ", " + choice_name(kAttentionForms, form);
}

namespace {

/// Heads of a batch by their letters: B sequences of T tokens, H heads of size D.
struct Sizes {
  explicit Sizes(const BenchOptions& o)
      : B(o.tokens / o.sequence_length), T(o.sequence_length), H(o.heads), D(o.hidden / o.heads) {}

  /// H heads from `first` of a tensor of `in_row` heads.
  kernels::HeadsView heads(const Tensor& tensor, std::int64_t first, std::int64_t in_row) const {
    return {tensor, first * D, B, T, H, D, T * in_row * D, in_row * D};
  }

  std::int64_t B, T, H, D;
};

void bench_normalizer(Bench& bench, const std::string& name) {
  Stream& stream = bench.stream();
  const Sizes s(bench.options());
  const auto normalizer = normalizers::make(with_normalizer(name).normalizer);
  const Tensor qkv = bench.activation({s.B, s.T, 3 * s.H, s.D});
  const Tensor dqkv = bench.activation({s.B, s.T, 3 * s.H, s.D});
  const kernels::HeadsView out = s.heads(bench.activation({s.B, s.T, s.H, s.D}), 0, s.H);
  const kernels::HeadsView dout = s.heads(bench.activation({s.B, s.T, s.H, s.D}), 0, s.H);
  std::vector<ConstTensor> parameters;
  std::vector<Tensor> gradients;
  for (const kernels::NormalizerParameter& parameter : normalizer->parameters()) {
    const bool per_head = parameter.owner == kernels::NormalizerParameter::Owner::head;
    parameters.push_back(bench.constant({per_head ? s.H : s.T}, parameter.value));
    gradients.push_back(bench.f32({per_head ? s.H : s.T}));
  }
  const Tensor scale = bench.f32({s.B, s.H, s.T});
  const Tensor dscale = bench.f32({s.B, s.H, s.T});
  const kernels::RowLengths lengths{.first_key = {}, .batch = s.B, .time = s.T};
  const kernels::AttentionSaved saved{bench.f32({s.B, s.H, s.T, normalizer->row_values()})};
  const kernels::AttentionInputs inputs{.q = kernels::as_const(s.heads(qkv, 0, 3 * s.H)),
                                        .k = kernels::as_const(s.heads(qkv, s.H, 3 * s.H)),
                                        .v = kernels::as_const(s.heads(qkv, 2 * s.H, 3 * s.H)),
                                        .row_scale = scale,
                                        .first_key = {},
                                        .alibi = {}};
  const kernels::AttentionGradients to{s.heads(dqkv, 0, 3 * s.H), s.heads(dqkv, s.H, 3 * s.H),
                                       s.heads(dqkv, 2 * s.H, 3 * s.H), dscale};
  const std::string shape = extents(s.B * s.H, s.T) + " x " + std::to_string(s.D);
  // Two products of T^2 / 2 visible pairs; the backward has five.
  const double forward = 2.0 * product(s.B * s.H, s.T) * static_cast<double>(s.T * s.D);
  for (const kernels::AttentionForm form : bench.options().attention_form) {
    const base::SettingScope scope(kernels::set_attention_form, form);
    bench.report({"attention " + name + suffix(form), shape,
                  [&] {
                    normalizer->row_scale(stream, scale, parameters, lengths);
                    normalizer->forward(stream, out, saved, inputs, parameters);
                  },
                  0.0, forward});
    bench.report({"attention " + name + " backward" + suffix(form), shape,
                  [&] {
                    normalizer->backward(stream, to, gradients, kernels::as_const(dout),
                                         kernels::as_const(out), saved, inputs, parameters);
                    normalizer->row_scale_backward(stream, gradients, dscale, parameters, lengths);
                  },
                  0.0, 2.5 * forward});
  }
  bench.finish();
}

}  // namespace

void bench_attention(Bench& bench) {
  std::vector<std::string> names = bench.options().normalizers;
  if (names.empty()) {
    for (const normalizers::NormalizerEntry& entry : normalizers::entries()) {
      names.push_back(entry.kind);
    }
  }
  for (const std::string& name : names) bench_normalizer(bench, name);
}

}  // namespace ssmax::app
