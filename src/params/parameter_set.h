#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "device/arena.h"
#include "device/stream.h"

namespace ssmax::params {

using device::Arena;
using device::ConstTensor;
using device::DType;
using device::Shape;
using device::Stream;
using device::Tensor;

/// How a parameter starts.
struct Init {
  enum class Kind : std::uint8_t {
    normal,     ///< mean 0, standard deviation `value`
    constant,   ///< `value` everywhere
    log_length  ///< ln(i + 1) at index i: the start of p_n
  };
  Kind kind = Kind::constant;
  double value = 0.0;
};

/// One named parameter. Declared once; init, optimizer, checkpoint and reduction visit the list.
struct ParameterSpec {
  std::string name;  ///< the tensor's name in checkpoints
  Shape shape;
  Init init = {};
  int section = 0;      ///< gradients become ready section by section; see ParameterSet::section
  bool packed = false;  ///< follows its predecessor without a gap, so that both form one matrix

  /// Weight decay is for matrices only.
  bool decays() const { return shape.rank() >= 2; }
};

enum class Gradients : std::uint8_t { none, allocate };

/// Half-open range of elements in the flat arrays.
struct ElementRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// The parameters of a model in flat arrays, in the order of the specs. Master weights and
/// gradients are f32 (f64 for f64 activations); bf16 activations read a bf16 copy of the weights.
class ParameterSet {
 public:
  /// Specs must come with non-decreasing sections. Sections and unpacked parameters start at a
  /// multiple of kAlignment elements; gaps hold zeros. A packed parameter shares section, rank and
  /// row length with its predecessor. Mistakes in the list throw std::logic_error.
  static constexpr std::int64_t kAlignment = 32;

  ParameterSet(std::vector<ParameterSpec> specs, DType compute, Gradients gradients, Arena& arena);

  const std::vector<ParameterSpec>& specs() const { return specs_; }
  int count() const { return static_cast<int>(specs_.size()); }
  /// Index of a name; -1 when there is none.
  int find(std::string_view name) const;

  /// Elements that are parameters, gaps not counted.
  std::int64_t parameter_elements() const;
  /// Elements of the flat arrays, gaps counted.
  std::int64_t flat_elements() const { return flat_elements_; }
  ElementRange range(int index) const { return ranges_[static_cast<std::size_t>(index)]; }
  int sections() const { return static_cast<int>(section_ranges_.size()); }
  ElementRange section(int section) const {
    return section_ranges_[static_cast<std::size_t>(section)];
  }

  Tensor master(int index) const { return slice(master_, index); }
  /// What the kernels read: the master itself, or its bf16 copy.
  ConstTensor weight(int index) const { return slice(compute_, index); }
  Tensor gradient(int index) const { return slice(gradients_, index); }
  /// `count` packed parameters from `index` as one matrix: rows add up.
  ConstTensor packed_weight(int index, int count) const { return slice(compute_, index, count); }
  Tensor packed_gradient(int index, int count) const { return slice(gradients_, index, count); }

  Tensor flat_master() const { return master_; }
  Tensor flat_compute() const { return compute_; }
  Tensor flat_gradients() const { return gradients_; }
  /// Whether flat_compute() is a bf16 copy and not the master itself.
  bool has_compute_copy() const { return compute_.dtype() != master_.dtype(); }
  /// The part of a flat array of this layout (moments, say) that belongs to a parameter, or to
  /// `count` packed ones; empty where `flat` is.
  Tensor slice(const Tensor& flat, int index, int count = 1) const;

  /// Draws every parameter from its own stream of (seed, name), and refreshes the bf16 copy.
  void initialize(Stream& stream, std::uint64_t seed) const;
  void initialize(Stream& stream, std::uint64_t seed, int index) const;
  /// Brings the bf16 copy up to date with the master weights; nothing to do without one.
  void refresh_compute(Stream& stream) const;

 private:
  void refresh_compute(Stream& stream, ElementRange range) const;

  std::vector<ParameterSpec> specs_;
  std::vector<ElementRange> ranges_;
  std::vector<ElementRange> section_ranges_;
  std::int64_t flat_elements_ = 0;
  Tensor master_;
  Tensor compute_;
  Tensor gradients_;
};

}  // namespace ssmax::params
