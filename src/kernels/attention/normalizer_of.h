#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/attention/row_scale.h"
#include "kernels/attention/row_scale_op.h"

namespace ssmax::kernels {

/// An AttentionNormalizer made of a row scale and a weighting. Parameters, each only when learned:
/// "scale" (s_h), "bias" (b_h), "length_scale" (p_n), then the weighting's own.
template <class Length, Weighting W>
class NormalizerOf : public AttentionNormalizer {
 public:
  NormalizerOf(RowScale<Length> scale, W weighting, std::vector<NormalizerParameter> own = {})
      : scale_(std::move(scale)), weighting_(std::move(weighting)), own_(std::move(own)) {}

  std::vector<NormalizerParameter> parameters() const override {
    std::vector<NormalizerParameter> all = row_scale_parameters(scale_);
    all.insert(all.end(), own_.begin(), own_.end());
    return all;
  }

  void row_scale(Stream& stream, const Tensor& c, std::span<const ConstTensor> parameters,
                 const RowLengths& lengths) const override {
    check_count(parameters.size());
    compute_row_scale(stream, c, scale_parameters(parameters), lengths, scale_);
  }

  void row_scale_backward(Stream& stream, std::span<const Tensor> gradients, const ConstTensor& dc,
                          std::span<const ConstTensor> parameters,
                          const RowLengths& lengths) const override {
    check_count(parameters.size());
    check_count(gradients.size());
    differentiate_row_scale(stream, gradients.first(gradients.size() - own_.size()), dc,
                            scale_parameters(parameters), lengths, scale_);
  }

  bool has_cuda() const override {
    return device::is_linked<cuda::attention_forward<W>>() &&
           device::is_linked<cuda::row_scale<Length>>();
  }

  std::int64_t row_values() const override { return W::kRowValues; }

  void forward(Stream& stream, const HeadsView& out, const AttentionSaved& saved,
               const AttentionInputs& inputs,
               std::span<const ConstTensor> parameters) const override {
    check_count(parameters.size());
    check_attention_inputs(inputs);
    check_attention_view(out, inputs.q, "attention: out");
    if (!saved.rows.empty()) {
      check_attention_rows(saved.rows, inputs, W::kRowValues, "attention: saved rows");
    }
    launch<cpu::attention_forward<W>, cuda::attention_forward<W>>(
        stream, out, saved, inputs, own_parameter(parameters), weighting_);
  }

  void backward(Stream& stream, const AttentionGradients& gradients,
                std::span<const Tensor> parameter_gradients, const ConstHeadsView& dout,
                const ConstHeadsView& out, const AttentionSaved& saved,
                const AttentionInputs& inputs,
                std::span<const ConstTensor> parameters) const override {
    check_count(parameters.size());
    check_count(parameter_gradients.size());
    check_attention_inputs(inputs);
    check_attention_view(dout, inputs.q, "attention backward: dout");
    check_attention_view(out, inputs.q, "attention backward: out");
    check_attention_view(gradients.dq, inputs.q, "attention backward: dq");
    check_attention_view(gradients.dk, inputs.k, "attention backward: dk");
    check_attention_view(gradients.dv, inputs.v, "attention backward: dv");
    check_attention_rows(saved.rows, inputs, W::kRowValues, "attention backward: saved rows");
    check_attention_rows(gradients.drow_scale, inputs, 1, "attention backward: drow_scale");
    launch<cpu::attention_backward<W>, cuda::attention_backward<W>>(
        stream, gradients, own_parameter(parameter_gradients), dout, out, saved, inputs,
        own_parameter(parameters), weighting_);
  }

  void weights(Stream& stream, const Tensor& weights, const AttentionInputs& inputs,
               std::span<const ConstTensor> parameters) const override {
    check_count(parameters.size());
    check_attention_inputs(inputs);
    check_attention_rows(weights, inputs, inputs.k.time, "attention: weights");
    launch<cpu::attention_weights<W>, cuda::attention_weights<W>>(
        stream, weights, inputs, own_parameter(parameters), weighting_);
  }

  std::int64_t workspace_bytes(const AttentionInputs& inputs, AttentionPass pass) const override {
    if (inputs.q.storage.device().kind == device::DeviceKind::cuda) {
      if (!device::is_linked<cuda::attention_workspace_bytes<W>>()) device::refuse_cuda();
      return cuda::attention_workspace_bytes<W>(inputs, pass);
    }
    return attention_workspace_bytes(inputs.k.time, inputs.k.head_size);
  }

 private:
  void check_count(std::size_t count) const {
    require(count == parameters().size(),
            "attention: expected as many parameter tensors as parameters() lists");
  }
  std::span<const ConstTensor> scale_parameters(std::span<const ConstTensor> all) const {
    return all.first(all.size() - own_.size());
  }
  /// The weighting's parameter, or an empty tensor.
  template <class T>
  T own_parameter(std::span<const T> all) const {
    return own_.empty() ? T() : all.back();
  }

  RowScale<Length> scale_;
  W weighting_;
  std::vector<NormalizerParameter> own_;  ///< at most one, per head
};

/// A weighting with the row scale that the options ask for.
template <Weighting W>
std::unique_ptr<AttentionNormalizer> make_scaled(const ScaleOptions& scale, const W& weighting,
                                                 std::vector<NormalizerParameter> own = {}) {
  if (scale.kind == ScaleKind::none) {
    return std::make_unique<NormalizerOf<UnitLength, W>>(RowScale<UnitLength>{}, weighting,
                                                         std::move(own));
  }
  return std::make_unique<NormalizerOf<LogLength, W>>(scale.row_scale(), weighting, std::move(own));
}

}  // namespace ssmax::kernels
