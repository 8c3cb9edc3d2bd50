#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/op.h"

namespace ssmax::base {
class AnySection;
}

namespace ssmax::kernels {

// B batch, T queries, S keys, H query heads, G key/value heads (H is a multiple of G), D head size.

/// A strided view (B, T, heads, D): row t of sequence b starts at data + b * batch_stride +
/// t * time_stride elements; heads lie side by side in the row. Views a fused QKV buffer, a KV
/// cache or a plain tensor alike.
template <class View>
struct HeadsViewOf {
  View storage;             ///< for dtype and device; `data` may point inside it
  std::int64_t offset = 0;  ///< elements from the storage's start to (0, 0, 0, 0)
  std::int64_t batch = 0;
  std::int64_t time = 0;
  std::int64_t heads = 0;
  std::int64_t head_size = 0;
  std::int64_t batch_stride = 0;
  std::int64_t time_stride = 0;

  template <class T>
  auto at(std::int64_t b, std::int64_t t, std::int64_t h) const {
    return storage.template data<T>() + offset + b * batch_stride + t * time_stride + h * head_size;
  }
};
using HeadsView = HeadsViewOf<Tensor>;
using ConstHeadsView = HeadsViewOf<ConstTensor>;

inline ConstHeadsView as_const(const HeadsView& view) {
  return {view.storage, view.offset,    view.batch,        view.time,
          view.heads,   view.head_size, view.batch_stride, view.time_stride};
}

/// What attention reads. Query t of sequence b stands at position first_position + t and sees keys
/// [first_key[b][t], first_position + t]; n is their number, at least 1.
struct AttentionInputs {
  ConstHeadsView q;       // (B, T, H, D)
  ConstHeadsView k;       // (B, S, G, D), S >= first_position + T
  ConstHeadsView v;       // (B, S, G, D)
  ConstTensor row_scale;  // (B, H, T) f32 (f64 for f64): c of every row
  ConstTensor first_key;  // (B, T) i32, or empty: 0
  ConstTensor alibi;      // (H) f32 (f64): slopes; x_ij += -slope (i - j); or empty
  std::int64_t first_position = 0;
};

enum class AttentionPass : std::uint8_t { forward, backward };

/// What the forward saves for the backward: a few values of each row, `row_values()` of them.
struct AttentionSaved {
  Tensor rows;  // (B, H, T, row_values) f32 (f64 for f64)
};

struct AttentionGradients {
  HeadsView dq;       // overwritten
  HeadsView dk;       // overwritten
  HeadsView dv;       // overwritten
  Tensor drow_scale;  // (B, H, T) f32 (f64): dc of every row, overwritten
};

/// Number of visible keys and position in its document of every query.
struct RowLengths {
  ConstTensor first_key;  // (B, T) i32, never falling with t, or empty: 0
  std::int64_t batch = 0;
  std::int64_t time = 0;
  std::int64_t first_position = 0;
};

/// A learned parameter of a normalizer.
struct NormalizerParameter {
  enum class Owner : std::uint8_t {
    head,  ///< one value per head of every layer; named model.layers.{i}.self_attn.normalizer.NAME
    length,  ///< one value per n, shared by all layers and heads; named model.normalizer.NAME
  };
  enum class Init : std::uint8_t { constant, log_length };
  std::string name;
  Owner owner = Owner::head;
  Init init = Init::constant;
  double value = 0.0;
};

/// The part that is swapped: a row scale c(head, n; parameters) and a weighting of the row. One
/// object serves all layers; parameters come in the order of parameters() with every call, f32
/// masters (f64 for f64). Activations are f32, bf16 or f64. What is written overlaps neither what
/// is read nor what else is written.
///
/// Errors: Error(usage) where shapes, dtypes or visible keys do not fit, Error(device) on a GPU
/// where has_cuda() is false.
class AttentionNormalizer {
 public:
  virtual ~AttentionNormalizer() = default;

  virtual std::vector<NormalizerParameter> parameters() const = 0;

  /// c (B, H, T) of every row. Overwrites.
  virtual void row_scale(Stream& stream, const Tensor& c, std::span<const ConstTensor> parameters,
                         const RowLengths& lengths) const = 0;
  /// Gradients of the row scale's parameters += from dc (B, H, T), in a fixed order; entries of the
  /// weighting's parameters are left alone.
  virtual void row_scale_backward(Stream& stream, std::span<const Tensor> gradients,
                                  const ConstTensor& dc, std::span<const ConstTensor> parameters,
                                  const RowLengths& lengths) const = 0;

  /// Whether this program contains its kernels.
  virtual bool has_cuda() const = 0;

  /// Values of each row that the backward needs.
  virtual std::int64_t row_values() const = 0;

  /// out (B, T, H, D) = weights times values; saved.rows may be empty when no backward follows.
  virtual void forward(Stream& stream, const HeadsView& out, const AttentionSaved& saved,
                       const AttentionInputs& inputs,
                       std::span<const ConstTensor> parameters) const = 0;

  /// Exact gradients; parameter_gradients += for the weighting's own parameters (sink).
  virtual void backward(Stream& stream, const AttentionGradients& gradients,
                        std::span<const Tensor> parameter_gradients, const ConstHeadsView& dout,
                        const ConstHeadsView& out, const AttentionSaved& saved,
                        const AttentionInputs& inputs,
                        std::span<const ConstTensor> parameters) const = 0;

  /// weights (B, H, T, S) f32 (f64): the weight of every key in every row, 0 where not visible. For
  /// looking at attention; memory grows with T * S, so callers take few queries at a time.
  virtual void weights(Stream& stream, const Tensor& weights, const AttentionInputs& inputs,
                       std::span<const ConstTensor> parameters) const = 0;

  /// Bytes of working memory that a pass over such inputs takes at most, for the memory plan: on a
  /// CPU of each thread, on a GPU in all. Tensors without memory will do.
  virtual std::int64_t workspace_bytes(const AttentionInputs& inputs, AttentionPass pass) const = 0;
};

/// One line of the registry.
struct NormalizerEntry {
  std::string kind;
  std::string help;     ///< one line
  std::string formula;  ///< the weight of key j, in text
  std::string source;   ///< paper or model that introduced it
  bool has_cuda = false;
  base::AnySection (*options)() = nullptr;  ///< the kind's options with their defaults
  std::unique_ptr<AttentionNormalizer> (*make)(const base::AnySection&) = nullptr;
};

}  // namespace ssmax::kernels
