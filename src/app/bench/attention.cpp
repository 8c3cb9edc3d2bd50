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

void bench_attention(Bench& bench) {
  const BenchOptions& o = bench.options();
  Stream& stream = bench.stream();
  const std::int64_t T = o.sequence_length;
  const std::int64_t B = o.tokens / T;
  const std::int64_t H = o.heads;
  const std::int64_t D = o.hidden / H;
  std::vector<std::string> names = o.normalizers;
  if (names.empty()) {
    for (const normalizers::NormalizerEntry& entry : normalizers::entries()) {
      names.push_back(entry.kind);
    }
  }
  for (const std::string& name : names) {
    const auto normalizer = normalizers::make(with_normalizer(name).normalizer);
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
      parameters.push_back(bench.constant({per_head ? H : T}, parameter.value));
      gradients.push_back(bench.f32({per_head ? H : T}));
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
    const std::string shape = extents(B * H, T) + " x " + std::to_string(D);
    // Two products of T^2 / 2 visible pairs; the backward has five.
    const double forward = 2.0 * product(B * H, T) * static_cast<double>(T * D);
    for (const kernels::AttentionForm form : o.attention_form) {
      const base::SettingScope scope(kernels::set_attention_form, form);
      bench.report({"attention " + name + suffix(form), shape,
                    [&] {
                      normalizer->row_scale(stream, scale, parameters, lengths);
                      normalizer->forward(stream, heads(out, 0, H), saved, inputs, parameters);
                    },
                    0.0, forward});
      bench.report(
          {"attention " + name + " backward" + suffix(form), shape,
           [&] {
             normalizer->backward(stream, to, gradients, kernels::as_const(heads(dout, 0, H)),
                                  kernels::as_const(heads(out, 0, H)), saved, inputs, parameters);
             normalizer->row_scale_backward(stream, gradients, dscale, parameters, lengths);
           },
           0.0, 2.5 * forward});
    }
    bench.finish();
  }
}

}  // namespace ssmax::app
