#include "params/parameter_set.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>

#include "base/checked.h"
#include "base/random.h"
#include "device/parallel.h"

namespace ssmax::params {

namespace {

constexpr std::int64_t kDrawGrain = std::int64_t{1} << 12;  // elements per task
constexpr std::int64_t kStaged = std::int64_t{1} << 20;     // elements on the host at a time

std::int64_t aligned(std::int64_t elements) {
  return base::div_up(elements, ParameterSet::kAlignment) * ParameterSet::kAlignment;
}

[[noreturn]] void fail(const ParameterSpec& spec, const char* reason) {
  throw std::logic_error("parameter " + spec.name + ": " + reason);
}

bool same_rows(const Shape& a, const Shape& b) {
  return a.rank() == b.rank() && std::ranges::equal(a.extents().subspan(1), b.extents().subspan(1));
}

void check(const std::vector<ParameterSpec>& specs) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const ParameterSpec& spec = specs[i];
    if (!names.insert(spec.name).second) fail(spec, "the name comes twice");
    if (spec.shape.rank() == 0 || spec.shape.elements() == 0) fail(spec, "the shape is empty");
    if (spec.padded_rows != 0 && spec.padded_rows < spec.shape[0])
      fail(spec, "has fewer padded rows than rows");
    if (spec.section < (i == 0 ? 0 : specs[i - 1].section)) fail(spec, "sections must not fall");
    if (!spec.packed) continue;
    if (i == 0 || specs[i - 1].section != spec.section || specs[i - 1].padded_rows != 0 ||
        !same_rows(specs[i - 1].shape, spec.shape)) {
      fail(spec, "packed needs a predecessor of the same section, rank and row length, not padded");
    }
  }
}

/// With its padding.
Shape stored_shape(const ParameterSpec& spec) {
  std::int64_t extents[Shape::kMaxRank] = {};
  std::ranges::copy(spec.shape.extents(), extents);
  extents[0] = std::max(extents[0], spec.padded_rows);
  return Shape(std::span<const std::int64_t>(extents, static_cast<std::size_t>(spec.shape.rank())));
}

double value_of(const Init& init, std::uint64_t seed, std::uint64_t stream, std::int64_t index) {
  switch (init.kind) {
    case Init::Kind::normal:
      return init.value * base::random_normal(seed, stream, static_cast<std::uint64_t>(index));
    case Init::Kind::constant:
      return init.value;
    case Init::Kind::log_length:
      return std::log(static_cast<double>(index) + 1.0);
  }
  return 0.0;
}

}  // namespace

ParameterSet::ParameterSet(std::vector<ParameterSpec> specs, DType compute, const Storage& storage,
                           Arena& arena)
    : specs_(std::move(specs)), storage_(storage) {
  check(specs_);
  lay_out();
  find_pieces();
  allocate(compute, arena);
}

void ParameterSet::lay_out() {
  const std::int64_t section_alignment = kAlignment * storage_.ranks;
  std::int64_t end = 0;
  std::int64_t section_begin = 0;
  for (const ParameterSpec& spec : specs_) {
    if (sections() <= spec.section) {  // the section before is complete
      end =
          section_begin + base::div_up(end - section_begin, section_alignment) * section_alignment;
      section_begin = end;
      if (!section_ranges_.empty()) section_ranges_.back().end = end;
    }
    const std::int64_t begin = spec.packed ? end : aligned(end);
    while (sections() <= spec.section) section_ranges_.push_back({begin, begin});
    end = begin + stored_shape(spec).elements();
    ranges_.push_back({begin, begin + spec.shape.elements()});
  }
  flat_elements_ =
      section_begin + base::div_up(end - section_begin, section_alignment) * section_alignment;
  section_ranges_.back().end = flat_elements_;
}

void ParameterSet::find_pieces() {
  std::int64_t offset = 0;
  for (const ElementRange& section : section_ranges_) {
    const std::int64_t part = section.count() / storage_.ranks;
    const std::int64_t begin = section.begin + part * storage_.rank;
    if (part == 0) continue;
    if (!owned_.empty() && owned_.back().range.end == begin) {
      owned_.back().range.end += part;
    } else {
      owned_.push_back({{begin, begin + part}, offset});
    }
    offset += part;
  }
  updated_ = storage_.optimizer == OptimizerState::sharded
                 ? owned_
                 : std::vector<Piece>{{{0, flat_elements_}, 0}};
}

void ParameterSet::allocate(DType compute, Arena& arena) {
  const DType master = device::accumulator_dtype(compute);
  const Shape flat{flat_elements_};
  const bool sharded = storage_.optimizer == OptimizerState::sharded;
  const bool partial = sharded && compute != master;
  const std::int64_t owned = flat_elements_ / storage_.ranks;
  master_ = arena.allocate("weights (master)", master, partial ? Shape{owned} : flat);
  compute_ = compute == master ? master_ : arena.allocate("weights (bf16 copy)", compute, flat);
  if (storage_.gradients == Gradients::allocate) {
    gradients_ = arena.allocate("gradients", master, flat);
  }
  if (!partial) return;
  std::int64_t exact = 0;
  for (const ParameterSpec& spec : specs_) {
    exact_offsets_.push_back(spec.exact ? exact : -1);
    if (spec.exact) exact += spec.shape.elements();
  }
  if (exact > 0) exact_ = arena.allocate("weights (f32 copy)", master, {exact});
}

Tensor ParameterSet::master_of(const Piece& piece, ElementRange range) const {
  const std::int64_t shift = has_partial_master() ? piece.offset - piece.range.begin : 0;
  return master_.rows(range.begin + shift, range.count());
}

Tensor ParameterSet::master(int index) const {
  if (has_partial_master()) {
    throw std::logic_error("this rank does not hold the whole master weights of " +
                           specs_[static_cast<std::size_t>(index)].name);
  }
  return slice(master_, index);
}

Tensor ParameterSet::exact_weight(int index) const {
  const ParameterSpec& spec = specs_[static_cast<std::size_t>(index)];
  if (!spec.exact) fail(spec, "is not declared exact");
  if (!has_partial_master()) return slice(master_, index);
  return exact_.rows(exact_offsets_[static_cast<std::size_t>(index)], spec.shape.elements())
      .reshaped(spec.shape);
}

int ParameterSet::find(std::string_view name) const {
  const auto found = std::ranges::find(specs_, name, &ParameterSpec::name);
  return found == specs_.end() ? -1 : static_cast<int>(found - specs_.begin());
}

std::int64_t ParameterSet::parameter_elements() const {
  std::int64_t sum = 0;
  for (const ElementRange& range : ranges_) sum += range.end - range.begin;
  return sum;
}

Tensor ParameterSet::slice(const Tensor& flat, int index, int count) const {
  if (flat.empty()) return {};
  const auto first = static_cast<std::size_t>(index);
  const Shape& shape = specs_[first].shape;
  std::int64_t extents[Shape::kMaxRank] = {};
  std::ranges::copy(shape.extents(), extents);
  for (std::size_t i = first + 1; i < first + static_cast<std::size_t>(count); ++i) {
    assert(specs_[i].packed);
    extents[0] += specs_[i].shape[0];
  }
  const Shape whole(std::span<const std::int64_t>(extents, static_cast<std::size_t>(shape.rank())));
  return flat.rows(ranges_[first].begin, whole.elements()).reshaped(whole);
}

Tensor ParameterSet::padded_slice(const Tensor& flat, int index) const {
  if (flat.empty()) return {};
  const auto i = static_cast<std::size_t>(index);
  const Shape whole = stored_shape(specs_[i]);
  return flat.rows(ranges_[i].begin, whole.elements()).reshaped(whole);
}

void ParameterSet::initialize(Stream& stream, std::uint64_t seed) const {
  for (int index = 0; index < count(); ++index) initialize(stream, seed, index);
}

void ParameterSet::initialize(Stream& stream, std::uint64_t seed, int index) const {
  const ParameterSpec& spec = specs_[static_cast<std::size_t>(index)];
  const std::uint64_t random = base::random_stream(spec.name);
  const ElementRange place = range(index);
  device::dispatch(master_.dtype(), [&]<class T>(device::Tag<T>) {
    std::vector<T> host(static_cast<std::size_t>(std::min(kStaged, place.end - place.begin)));
    for (std::int64_t begin = place.begin; begin < place.end; begin += kStaged) {
      const std::int64_t elements = std::min(kStaged, place.end - begin);
      device::parallel_for(elements, kDrawGrain, [&](std::int64_t from, std::int64_t to) {
        for (std::int64_t i = from; i < to; ++i) {
          const double value = value_of(spec.init, seed, random, begin - place.begin + i);
          host[static_cast<std::size_t>(i)] = static_cast<T>(value);
        }
      });
      store(stream, index, begin, device::view(host.data(), {elements}));
      stream.synchronize();
    }
  });
}

/// Puts values of a parameter, on the host, from element `begin` of the flat arrays on, wherever
/// this rank holds them.
void ParameterSet::store(Stream& stream, int index, std::int64_t begin,
                         const ConstTensor& values) const {
  const ElementRange range{begin, begin + values.elements()};
  if (has_partial_master()) {
    for (const Piece& piece : owned_) {
      const ElementRange part = intersection(piece.range, range);
      if (part.empty()) continue;
      device::copy(stream, master_of(piece, part), values.rows(part.begin - begin, part.count()));
    }
  } else {
    device::copy(stream, master_.rows(begin, values.elements()), values);
  }
  if (!has_compute_copy()) return;
  const float* wide = values.data<float>();
  std::vector<device::Bf16> narrow(static_cast<std::size_t>(values.elements()));
  std::transform(wide, wide + values.elements(), narrow.begin(),
                 [](float value) { return device::Bf16(value); });
  device::copy(stream, compute_.rows(begin, values.elements()),
               device::view(narrow.data(), values.shape()));
  if (!has_partial_master() || !specs_[static_cast<std::size_t>(index)].exact) return;
  const std::int64_t offset = exact_offsets_[static_cast<std::size_t>(index)];
  const std::int64_t first = ranges_[static_cast<std::size_t>(index)].begin;
  device::copy(stream, exact_.rows(offset + begin - first, values.elements()), values);
}

void ParameterSet::refresh_compute(Stream& stream) const {
  for (const Piece& piece : updated_) refresh_compute(stream, piece);
}

void ParameterSet::refresh_compute(Stream& stream, const Piece& piece) const {
  if (!has_compute_copy()) return;
  const Tensor master = master_of(piece);
  const Tensor compute = compute_.rows(piece.range.begin, piece.range.count());
  const auto staged = static_cast<std::size_t>(std::min(kStaged, master.elements()));
  std::vector<float> wide(staged);
  std::vector<device::Bf16> narrow(staged);
  for (std::int64_t begin = 0; begin < master.elements(); begin += kStaged) {
    const std::int64_t elements = std::min(kStaged, master.elements() - begin);
    device::copy(stream, device::view(wide.data(), {elements}), master.rows(begin, elements));
    stream.synchronize();
    for (std::size_t i = 0; i < static_cast<std::size_t>(elements); ++i) {
      narrow[i] = device::Bf16(wide[i]);
    }
    device::copy(stream, compute.rows(begin, elements), device::view(narrow.data(), {elements}));
    stream.synchronize();
  }
}

void ParameterSet::copy_owned_exact(Stream& stream) const {
  if (exact_.empty()) return;
  device::fill_zero(stream, exact_);
  for (int index = 0; index < count(); ++index) {
    const std::int64_t offset = exact_offsets_[static_cast<std::size_t>(index)];
    if (offset < 0) continue;
    for (const Piece& piece : owned_) {
      const ElementRange part = intersection(piece.range, range(index));
      if (part.empty()) continue;
      device::copy(stream, exact_.rows(offset + part.begin - range(index).begin, part.count()),
                   master_of(piece, part));
    }
  }
}

}  // namespace ssmax::params
