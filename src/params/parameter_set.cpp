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
    if (spec.section < (i == 0 ? 0 : specs[i - 1].section)) fail(spec, "sections must not fall");
    if (!spec.packed) continue;
    if (i == 0 || specs[i - 1].section != spec.section ||
        !same_rows(specs[i - 1].shape, spec.shape)) {
      fail(spec, "packed needs a predecessor of the same section, rank and row length");
    }
  }
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

ParameterSet::ParameterSet(std::vector<ParameterSpec> specs, DType compute, Gradients gradients,
                           Arena& arena)
    : specs_(std::move(specs)) {
  check(specs_);
  std::int64_t end = 0;
  for (const ParameterSpec& spec : specs_) {
    const std::int64_t begin = spec.packed ? end : aligned(end);
    while (sections() <= spec.section) section_ranges_.push_back({begin, begin});
    end = begin + spec.shape.elements();
    ranges_.push_back({begin, end});
    section_ranges_.back().end = aligned(end);
  }
  flat_elements_ = aligned(end);

  const DType master = device::accumulator_dtype(compute);
  const Shape flat{flat_elements_};
  master_ = arena.allocate("weights (master)", master, flat);
  compute_ = compute == master ? master_ : arena.allocate("weights (bf16 copy)", compute, flat);
  if (gradients == Gradients::allocate) gradients_ = arena.allocate("gradients", master, flat);
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
  // A planning arena gives views without memory, and a null pointer has no offsets.
  if (flat.raw() == nullptr) return {nullptr, flat.dtype(), whole, flat.device()};
  return flat.rows(ranges_[first].begin, whole.elements()).reshaped(whole);
}

void ParameterSet::initialize(Stream& stream, std::uint64_t seed) const {
  for (int index = 0; index < count(); ++index) initialize(stream, seed, index);
}

void ParameterSet::initialize(Stream& stream, std::uint64_t seed, int index) const {
  const ParameterSpec& spec = specs_[static_cast<std::size_t>(index)];
  const std::uint64_t random = base::random_stream(spec.name.data(), spec.name.size());
  const auto [first, last] = range(index);
  device::dispatch(master_.dtype(), [&]<class T>(device::Tag<T>) {
    std::vector<T> host(static_cast<std::size_t>(std::min(kStaged, last - first)));
    for (std::int64_t begin = first; begin < last; begin += kStaged) {
      const std::int64_t elements = std::min(kStaged, last - begin);
      device::parallel_for(elements, kDrawGrain, [&](std::int64_t from, std::int64_t to) {
        for (std::int64_t i = from; i < to; ++i) {
          const double value = value_of(spec.init, seed, random, begin - first + i);
          host[static_cast<std::size_t>(i)] = static_cast<T>(value);
        }
      });
      device::copy(stream, master_.rows(begin, elements), device::view(host.data(), {elements}));
      stream.synchronize();
    }
  });
  refresh_compute(stream, {first, last});
}

void ParameterSet::refresh_compute(Stream& stream) const {
  refresh_compute(stream, {0, flat_elements_});
}

void ParameterSet::refresh_compute(Stream& stream, ElementRange range) const {
  if (!has_compute_copy()) return;
  const auto staged = static_cast<std::size_t>(std::min(kStaged, range.end - range.begin));
  std::vector<float> wide(staged);
  std::vector<device::Bf16> narrow(staged);
  for (std::int64_t begin = range.begin; begin < range.end; begin += kStaged) {
    const std::int64_t elements = std::min(kStaged, range.end - begin);
    device::copy(stream, device::view(wide.data(), {elements}), master_.rows(begin, elements));
    stream.synchronize();
    for (std::size_t i = 0; i < static_cast<std::size_t>(elements); ++i) {
      narrow[i] = device::Bf16(wide[i]);
    }
    device::copy(stream, compute_.rows(begin, elements), device::view(narrow.data(), {elements}));
    stream.synchronize();
  }
}

}  // namespace ssmax::params
