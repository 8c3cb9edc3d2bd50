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
  bool exact = false;   ///< kernels read the f32 weight itself, never a bf16 copy
  /// Rows in the flat arrays, those behind the shape's own zeros; 0 = the shape's. Matrix products
  /// over them all have the extents that suit a GPU, whatever the size of the vocabulary.
  std::int64_t padded_rows = 0;

  /// Weight decay is for matrices only.
  bool decays() const { return shape.rank() >= 2; }
};

enum class Gradients : std::uint8_t { none, allocate };

/// Whether each of several ranks keeps the state of all weights or of those it owns alone (ZeRO-1:
/// Rajbhandari et al., "ZeRO", 2020): moments, and master weights where kernels read a bf16 copy.
enum class OptimizerState : std::uint8_t { whole, sharded };

/// How a set is stored, and by which of how many ranks.
struct Storage {
  Storage(Gradients wanted) : gradients(wanted) {}  // NOLINT: one rank with everything

  Gradients gradients;
  OptimizerState optimizer = OptimizerState::whole;
  int rank = 0;
  int ranks = 1;
};

/// Half-open range of elements in the flat arrays.
struct ElementRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  std::int64_t count() const { return end - begin; }
  bool empty() const { return begin >= end; }
};

constexpr ElementRange intersection(ElementRange a, ElementRange b) {
  return {a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};
}

/// A range of the flat arrays, and where it starts in an array that holds such ranges only, one
/// after the other.
struct Piece {
  ElementRange range;
  std::int64_t offset = 0;
};

/// The parameters of a model in flat arrays, in the order of the specs. Master weights and
/// gradients are f32 (f64 for f64 activations); bf16 activations read a bf16 copy of the weights.
///
/// Of R ranks, each owns one of R equal parts of every section, the rank-th: it is where the sum of
/// gradients arrives and who measures their norm. With OptimizerState::sharded it alone updates the
/// part, and a master that kernels do not read is stored for the parts of this rank only.
class ParameterSet {
 public:
  /// Specs must come with non-decreasing sections. Sections and unpacked parameters start at a
  /// multiple of kAlignment elements, and a section is a multiple of kAlignment * ranks long; gaps
  /// hold zeros. A packed parameter shares section, rank and row length with its predecessor, which
  /// is not padded.
  /// Mistakes in the list throw std::logic_error.
  static constexpr std::int64_t kAlignment = 32;

  ParameterSet(std::vector<ParameterSpec> specs, DType compute, const Storage& storage,
               Arena& arena);

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

  const Storage& storage() const { return storage_; }
  /// The parts of this rank, neighbors merged; everything for one rank.
  const std::vector<Piece>& owned() const { return owned_; }
  /// What this rank's optimizer updates: owned() when sharded, otherwise everything.
  const std::vector<Piece>& updated() const { return updated_; }
  /// Whether flat_master() holds the owned pieces only, one after the other.
  bool has_partial_master() const {
    return storage_.optimizer == OptimizerState::sharded && has_compute_copy();
  }
  /// The master weights of a piece of updated(), or of a range within it.
  Tensor master_of(const Piece& piece) const { return master_of(piece, piece.range); }
  Tensor master_of(const Piece& piece, ElementRange range) const;

  /// Not where has_partial_master().
  Tensor master(int index) const;
  /// What the kernels read: the master itself, or its bf16 copy.
  ConstTensor weight(int index) const { return slice(compute_, index); }
  /// The f32 (f64) values of a parameter that is `exact`.
  Tensor exact_weight(int index) const;
  Tensor gradient(int index) const { return slice(gradients_, index); }
  /// With all padded_rows.
  ConstTensor padded_weight(int index) const { return padded_slice(compute_, index); }
  Tensor padded_gradient(int index) const { return padded_slice(gradients_, index); }
  /// `count` packed parameters from `index` as one matrix: rows add up.
  ConstTensor packed_weight(int index, int count) const { return slice(compute_, index, count); }
  Tensor packed_gradient(int index, int count) const { return slice(gradients_, index, count); }

  Tensor flat_master() const { return master_; }
  Tensor flat_compute() const { return compute_; }
  Tensor flat_gradients() const { return gradients_; }
  /// Where has_partial_master(): the values of all exact parameters, one after the other.
  Tensor flat_exact() const { return exact_; }
  /// Whether flat_compute() is a bf16 copy and not the master itself.
  bool has_compute_copy() const { return compute_.dtype() != master_.dtype(); }
  /// The part of a flat array of this layout (moments, say) that belongs to a parameter, or to
  /// `count` packed ones; empty where `flat` is.
  Tensor slice(const Tensor& flat, int index, int count = 1) const;

  /// Draws every parameter from its own stream of (seed, name), and refreshes the bf16 copy.
  void initialize(Stream& stream, std::uint64_t seed) const;
  void initialize(Stream& stream, std::uint64_t seed, int index) const;
  /// Brings the bf16 copy up to date with the master weights; nothing to do without one. Of a
  /// partial master that is the owned pieces.
  void refresh_compute(Stream& stream) const;
  /// Where has_partial_master(): flat_exact() = the owned elements, and zero where others own them,
  /// so that the sum over ranks is the whole.
  void copy_owned_exact(Stream& stream) const;

 private:
  void lay_out();
  void find_pieces();
  Tensor padded_slice(const Tensor& flat, int index) const;
  void allocate(DType compute, Arena& arena);
  void store(Stream& stream, int index, std::int64_t begin, const ConstTensor& values) const;
  void refresh_compute(Stream& stream, const Piece& piece) const;

  std::vector<ParameterSpec> specs_;
  Storage storage_;
  std::vector<ElementRange> ranges_;
  std::vector<ElementRange> section_ranges_;
  std::vector<Piece> owned_;
  std::vector<Piece> updated_;
  std::vector<std::int64_t> exact_offsets_;  // of each parameter in exact_; -1 = not there
  std::int64_t flat_elements_ = 0;
  Tensor master_;
  Tensor compute_;
  Tensor exact_;
  Tensor gradients_;
};

}  // namespace ssmax::params
