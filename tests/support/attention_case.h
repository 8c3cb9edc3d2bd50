#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/errors.h"
#include "base/random.h"
#include "device/arena.h"
#include "kernels/attention/normalizer.h"

/// One attention problem in double, and its run through a normalizer in any dtype and on any
/// device, forward and backward, with guard elements around and inside every buffer.
namespace ssmax::test {

using device::Bf16;
using device::DType;
using kernels::AttentionNormalizer;
using kernels::NormalizerParameter;

struct AttentionShape {
  std::int64_t batch = 2;
  std::int64_t time = 13;
  std::int64_t heads = 4;
  std::int64_t groups = 2;
  std::int64_t head_size = 8;
  std::int64_t first_position = 0;
  std::int64_t spare_keys = 0;  ///< keys after the last position, never visible

  std::int64_t keys() const { return first_position + time + spare_keys; }
};

enum class Documents : std::uint8_t { one, several };
enum class Bias : std::uint8_t { none, alibi };

struct AttentionCase {
  AttentionShape shape;
  std::vector<double> q;                // (B, T, H, D)
  std::vector<double> k;                // (B, S, G, D)
  std::vector<double> v;                // (B, S, G, D)
  std::vector<double> dout;             // (B, T, H, D)
  std::vector<std::int32_t> first_key;  // (B, T) or empty
  std::vector<double> alibi;            // (H) or empty
  std::vector<std::vector<double>> parameters;

  std::int64_t first(std::int64_t b, std::int64_t t) const {
    return first_key.empty() ? 0 : first_key[static_cast<std::size_t>(b * shape.time + t)];
  }
};

inline std::vector<double> random_values(std::int64_t count, double scale, std::uint64_t seed,
                                         std::uint64_t stream) {
  std::vector<double> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    // Of few bits, so that bf16, f32 and f64 see the same operands.
    const double value = scale * base::random_normal(seed, stream, i);
    values[i] = static_cast<double>(Bf16(value));
  }
  return values;
}

/// Elements of a parameter: one per head, or a table for rows of up to S keys.
inline std::int64_t parameter_count(const NormalizerParameter& parameter,
                                    const AttentionShape& shape) {
  return parameter.owner == NormalizerParameter::Owner::head ? shape.heads : shape.keys();
}

inline AttentionCase make_case(const AttentionShape& shape, const AttentionNormalizer& normalizer,
                               Documents documents, Bias bias, std::uint64_t seed,
                               double query_scale = 1.5) {
  AttentionCase c;
  c.shape = shape;
  const std::int64_t queries = shape.batch * shape.time * shape.heads * shape.head_size;
  const std::int64_t pairs = shape.batch * shape.keys() * shape.groups * shape.head_size;
  c.q = random_values(queries, query_scale, seed, 1);
  c.k = random_values(pairs, 1.0, seed, 2);
  c.v = random_values(pairs, 1.0, seed, 3);
  c.dout = random_values(queries, 1.0, seed, 4);
  if (documents == Documents::several) {
    std::int32_t start = 0;
    for (std::int64_t i = 0; i < shape.batch * shape.time; ++i) {
      const std::int64_t position = shape.first_position + i % shape.time;
      if (i % shape.time == 0) start = 0;
      // Some documents are one key long.
      if (base::random_uniform(seed, 5, static_cast<std::uint64_t>(i)) < 0.25) {
        start = static_cast<std::int32_t>(position);
      }
      c.first_key.push_back(start);
    }
  }
  for (std::int64_t h = 0; bias == Bias::alibi && h < shape.heads; ++h) {
    c.alibi.push_back(std::exp2(-static_cast<double>(h + 1)));
  }
  std::uint64_t stream = 6;
  for (const NormalizerParameter& parameter : normalizer.parameters()) {
    std::vector<double> values =
        random_values(parameter_count(parameter, shape), 0.5, seed, stream++);
    for (std::size_t i = 0; i < values.size(); ++i) {
      // Heads 0, 2, ... around the initial value, heads 1, 3, ... with the other sign.
      const double start = parameter.init == NormalizerParameter::Init::log_length
                               ? std::log(static_cast<double>(i + 1))
                               : parameter.value;
      const bool flip = parameter.owner == NormalizerParameter::Owner::head && i % 2 == 1;
      values[i] = static_cast<double>(Bf16(values[i] + (flip ? -start : start)));
    }
    c.parameters.push_back(values);
  }
  return c;
}

/// Elements on the stream's device with guards before and after, and optionally a gap after every
/// row.
template <class T>
class Guarded {
 public:
  static constexpr std::size_t kGuard = 64;

  Guarded(device::Stream& stream, std::int64_t rows, std::int64_t row, std::int64_t gap,
          double guard)
      : stream_(&stream),
        rows_(static_cast<std::size_t>(rows)),
        row_(static_cast<std::size_t>(row)),
        stride_(static_cast<std::size_t>(row + gap)),
        guard_(T(guard)),
        data_(2 * kGuard + rows_ * stride_, guard_) {
    if (stream.device().kind != device::DeviceKind::cpu) {
      arena_ = std::make_unique<device::Arena>(stream.device());
      mirror_ = arena_->allocate("test", device::kDTypeOf<T>, whole().shape());
      copy(stream, mirror_, whole());
    }
  }

  T* data() { return (arena_ ? mirror_.template data<T>() : data_.data()) + kGuard; }
  std::int64_t stride() const { return static_cast<std::int64_t>(stride_); }
  std::int64_t storage_elements() const { return static_cast<std::int64_t>(rows_ * stride_); }

  void set(const std::vector<double>& values) {
    for (std::size_t i = 0; i < values.size(); ++i) at(i) = T(values[i]);
    if (arena_) copy(*stream_, mirror_, whole());
  }
  std::vector<double> get() {
    fetch();
    std::vector<double> values(rows_ * row_);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(at(i));
    return values;
  }
  /// Whether every element outside the rows still holds the guard's bits.
  bool intact() {
    fetch();
    for (std::size_t i = 0; i < data_.size(); ++i) {
      const bool inside =
          i >= kGuard && i - kGuard < rows_ * stride_ && (i - kGuard) % stride_ < row_;
      if (!inside && std::memcmp(&data_[i], &guard_, sizeof(T)) != 0) return false;
    }
    return true;
  }

 private:
  T& at(std::size_t i) { return data_[kGuard + i / row_ * stride_ + i % row_]; }
  device::Tensor whole() {
    return device::view(data_.data(), {static_cast<std::int64_t>(data_.size())});
  }
  void fetch() {
    if (arena_) copy(*stream_, whole(), mirror_);
  }

  device::Stream* stream_;
  std::size_t rows_;
  std::size_t row_;
  std::size_t stride_;
  T guard_;
  std::vector<T> data_;
  std::unique_ptr<device::Arena> arena_;
  device::Tensor mirror_;
};

struct AttentionResult {
  std::vector<double> c;     // (B, H, T)
  std::vector<double> out;   // (B, T, H, D)
  std::vector<double> rows;  // (B, H, T, row_values)
  std::vector<double> dq;
  std::vector<double> dk;
  std::vector<double> dv;
  std::vector<double> dc;
  std::vector<double> weights;  // (B, H, T, S)
  std::vector<std::vector<double>> dparameters;
};

enum class Run : std::uint8_t { forward, forward_and_backward };

/// Where and how a case runs.
struct Place {
  device::Device device;
  std::int64_t gap = 3;  ///< elements between rows; of 3 no row is aligned
};

/// Runs the case on activations of type T. Written parameter gradients start at `start`.
template <class T>
AttentionResult run_attention(const AttentionNormalizer& normalizer, const AttentionCase& c,
                              Run what = Run::forward_and_backward, double start = 0.0,
                              const Place& place = {}) {
  using Real = device::Accumulator<T>;
  using kernels::HeadsView;
  constexpr DType kReal = device::kDTypeOf<Real>;
  const double nan = std::nan("");
  const AttentionShape& s = c.shape;
  device::Stream stream(place.device);

  const auto buffer = [&](std::int64_t time, std::int64_t heads, double guard) {
    return Guarded<T>(stream, s.batch * time, heads * s.head_size, place.gap, guard);
  };
  const auto view = [&](Guarded<T>& storage, std::int64_t time, std::int64_t heads) {
    return HeadsView{.storage = device::Tensor(storage.data(), device::kDTypeOf<T>,
                                               {storage.storage_elements()}, place.device),
                     .batch = s.batch,
                     .time = time,
                     .heads = heads,
                     .head_size = s.head_size,
                     .batch_stride = time * storage.stride(),
                     .time_stride = storage.stride()};
  };
  // Gaps of inputs are NaN: reading one shows in the result.
  Guarded<T> q = buffer(s.time, s.heads, nan);
  Guarded<T> k = buffer(s.keys(), s.groups, nan);
  Guarded<T> v = buffer(s.keys(), s.groups, nan);
  Guarded<T> dout = buffer(s.time, s.heads, nan);
  Guarded<T> out = buffer(s.time, s.heads, 1234.5);
  Guarded<T> dq = buffer(s.time, s.heads, 1234.5);
  Guarded<T> dk = buffer(s.keys(), s.groups, 1234.5);
  Guarded<T> dv = buffer(s.keys(), s.groups, 1234.5);
  q.set(c.q);
  k.set(c.k);
  v.set(c.v);
  dout.set(c.dout);
  const std::int64_t row_count = s.batch * s.heads * s.time;
  Guarded<Real> scale(stream, row_count, 1, 0, 1234.5);
  Guarded<Real> dscale(stream, row_count, 1, 0, 1234.5);
  Guarded<Real> rows(stream, row_count, normalizer.row_values(), 0, 1234.5);
  Guarded<Real> alibi(stream, s.heads, 1, 0, nan);
  alibi.set(c.alibi);
  const auto tensor = [&](Guarded<Real>& storage, const device::Shape& shape) {
    return device::Tensor(storage.data(), kReal, shape, place.device);
  };
  Guarded<std::int32_t> first_keys(stream, s.batch * s.time, 1, 0, -1);
  first_keys.set({c.first_key.begin(), c.first_key.end()});
  const device::ConstTensor first_key =
      c.first_key.empty()
          ? device::ConstTensor()
          : device::ConstTensor(first_keys.data(), DType::i32, {s.batch, s.time}, place.device);
  std::vector<Guarded<Real>> parameters;
  std::vector<Guarded<Real>> dparameters;
  for (const std::vector<double>& values : c.parameters) {
    const auto count = static_cast<std::int64_t>(values.size());
    parameters.emplace_back(stream, count, 1, 0, nan).set(values);
    dparameters.emplace_back(stream, count, 1, 0, 1234.5)
        .set(std::vector<double>(values.size(), start));
  }
  std::vector<device::ConstTensor> parameter_tensors;
  std::vector<device::Tensor> gradient_tensors;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const device::Shape shape{static_cast<std::int64_t>(c.parameters[i].size())};
    parameter_tensors.push_back(tensor(parameters[i], shape));
    gradient_tensors.push_back(tensor(dparameters[i], shape));
  }

  const kernels::RowLengths lengths{first_key, s.batch, s.time, s.first_position};
  normalizer.row_scale(stream, tensor(scale, {s.batch, s.heads, s.time}), parameter_tensors,
                       lengths);
  const kernels::AttentionInputs inputs{
      .q = as_const(view(q, s.time, s.heads)),
      .k = as_const(view(k, s.keys(), s.groups)),
      .v = as_const(view(v, s.keys(), s.groups)),
      .row_scale = tensor(scale, {s.batch, s.heads, s.time}),
      .first_key = first_key,
      .alibi = c.alibi.empty() ? device::ConstTensor() : tensor(alibi, {s.heads}),
      .first_position = s.first_position};
  const kernels::AttentionSaved saved{
      tensor(rows, {s.batch, s.heads, s.time, normalizer.row_values()})};
  normalizer.forward(stream, view(out, s.time, s.heads), saved, inputs, parameter_tensors);
  AttentionResult result;
  result.c = scale.get();
  result.out = out.get();
  result.rows = rows.get();
  bool intact = out.intact() && scale.intact() && rows.intact();
  if (what == Run::forward_and_backward) {
    const device::Tensor dc = tensor(dscale, {s.batch, s.heads, s.time});
    normalizer.backward(stream,
                        {.dq = view(dq, s.time, s.heads),
                         .dk = view(dk, s.keys(), s.groups),
                         .dv = view(dv, s.keys(), s.groups),
                         .drow_scale = dc},
                        gradient_tensors, as_const(view(dout, s.time, s.heads)),
                        as_const(view(out, s.time, s.heads)), saved, inputs, parameter_tensors);
    normalizer.row_scale_backward(stream, gradient_tensors, dc, parameter_tensors, lengths);
    result.dq = dq.get();
    result.dk = dk.get();
    result.dv = dv.get();
    result.dc = dscale.get();
    for (Guarded<Real>& gradient : dparameters) {
      result.dparameters.push_back(gradient.get());
      intact = intact && gradient.intact();
    }
    Guarded<Real> weights(stream, row_count, s.keys(), 0, 1234.5);
    normalizer.weights(stream, tensor(weights, {s.batch, s.heads, s.time, s.keys()}), inputs,
                       parameter_tensors);
    result.weights = weights.get();
    intact =
        intact && weights.intact() && dq.intact() && dk.intact() && dv.intact() && dscale.intact();
  }
  EXPECT_TRUE(intact) << "an element outside the outputs was written";
  return result;
}

/// sqrt(sum (a - b)^2 / sum b^2); 0 when both are 0.
inline double relative_rms(const std::vector<double>& a, const std::vector<double>& b) {
  double error = 0;
  double size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    error += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  return error == 0 ? 0 : std::sqrt(error / size);
}

inline double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = a.size() == b.size() ? 0.0 : INFINITY;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(a[i] - b[i]);
    largest = difference > largest || std::isnan(difference) ? difference : largest;
  }
  return largest;
}

}  // namespace ssmax::test
