#include "checkpoint/match.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <set>

#include "base/errors.h"
#include "device/stream.h"

namespace ssmax::checkpoint {
namespace {

using device::ConstTensor;
using device::Tensor;
using params::Init;
using params::ParameterSet;
using params::ParameterSpec;

constexpr char kNormalizerKey[] = "model.normalizer";
constexpr std::string_view kNormalizerPart = ".normalizer.";
constexpr std::size_t kShownNames = 5;

bool is_moment(std::string_view name) {
  return name.starts_with(kFirstMoment) || name.starts_with(kSecondMoment);
}

std::string number_text(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%g", value);
  return text.data();
}

std::string value_text(const Init& init) {
  switch (init.kind) {
    case Init::Kind::normal:
      return "normal(0, " + number_text(init.value) + ")";
    case Init::Kind::constant:
      return number_text(init.value);
    case Init::Kind::log_length:
      return "ln(1), ln(2), ln(3), ...";
  }
  return "";
}

bool same_shape(const TensorInfo& info, const ParameterSpec& spec) {
  const auto extents = spec.shape.extents();
  return std::equal(extents.begin(), extents.end(), info.shape.begin(), info.shape.end());
}

/// Collects what may not differ; the error shows the first few of each sort.
class Mismatches {
 public:
  void add(std::string_view sort, std::string text) {
    for (auto& [name, texts] : sorts_) {
      if (name == sort) return texts.push_back(std::move(text));
    }
    sorts_.push_back({std::string(sort), {std::move(text)}});
  }

  void check(const LoadedCheckpoint& checkpoint, bool only_normalizers) const {
    if (sorts_.empty()) return;
    std::string message =
        checkpoint.folder().string() + ": the checkpoint is of another model than the config's";
    for (const auto& [name, texts] : sorts_) {
      message += "; " + name + " " + std::to_string(texts.size()) + ": ";
      for (std::size_t i = 0; i < std::min(texts.size(), kShownNames); ++i) {
        message += (i > 0 ? ", " : "") + texts[i];
      }
      if (texts.size() > kShownNames) message += ", ...";
    }
    if (only_normalizers) {
      message +=
          "; to change the normalizer train with start.allow_change=[\"model.normalizer\"], or "
          "make a checkpoint of it with ssmax swap";
    }
    throw base::Error(base::ErrorKind::checkpoint, message);
  }

 private:
  std::vector<std::pair<std::string, std::vector<std::string>>> sorts_;
};

ConstTensor slice(const ParameterSet& parameters, const ConstTensor& flat, int index) {
  const params::ElementRange range = parameters.range(index);
  return flat.rows(range.begin, range.count())
      .reshaped(parameters.specs()[static_cast<std::size_t>(index)].shape);
}

/// The elements of a parameter that are in a piece of ParameterSet::updated().
struct Held {
  params::ElementRange range;  // of the flat arrays
  std::int64_t first = 0;      // counted from the start of the parameter
  std::int64_t offset = 0;     // in arrays that hold the pieces one after the other
  const params::Piece* piece = nullptr;
};

/// Neighbors are one piece and a section is cut once, so there is at most one.
std::optional<Held> held(const ParameterSet& parameters, int index) {
  for (const params::Piece& piece : parameters.updated()) {
    const params::ElementRange range = intersection(piece.range, parameters.range(index));
    if (range.empty()) continue;
    return Held{range, range.begin - parameters.range(index).begin,
                piece.offset + range.begin - piece.range.begin, &piece};
  }
  return std::nullopt;
}

/// The elements that this rank holds, and the whole in the copies that kernels read.
void read_weight(const LoadedCheckpoint& checkpoint, const ParameterSet& parameters, int index) {
  const std::string& name = parameters.specs()[static_cast<std::size_t>(index)].name;
  if (!parameters.has_partial_master()) {
    return checkpoint.read_converted(name, parameters.master(index));
  }
  if (const auto part = held(parameters, index)) {
    checkpoint.read_elements(name, part->first, parameters.master_of(*part->piece, part->range));
  }
  checkpoint.read_converted(name, parameters.slice(parameters.flat_compute(), index));
  if (parameters.specs()[static_cast<std::size_t>(index)].exact) {
    checkpoint.read_converted(name, parameters.exact_weight(index));
  }
}

}  // namespace

bool is_allowed(std::string_view key, std::span<const std::string> allow_change) {
  return std::any_of(allow_change.begin(), allow_change.end(), [&](const std::string& prefix) {
    return key.starts_with(prefix) && (key.size() == prefix.size() || key[prefix.size()] == '.');
  });
}

std::string to_text(const SwapReport& report) {
  std::string text = "loaded   " + std::to_string(report.loaded.size()) + " tensors\n";
  for (const SwapReport::Created& created : report.created) {
    text += "created  " + created.name + " = " + created.value + "\n";
  }
  for (const std::string& name : report.dropped) text += "dropped  " + name + "\n";
  return text;
}

SwapReport match_parameters(const LoadedCheckpoint& checkpoint, const ParameterSet& parameters,
                            std::span<const std::string> allow_change) {
  const bool may_swap = is_allowed(kNormalizerKey, allow_change);
  SwapReport report;
  Mismatches mismatches;
  bool only_normalizers = true;
  const auto differs = [&](std::string_view sort, std::string_view name, std::string text) {
    only_normalizers = only_normalizers && name.find(kNormalizerPart) != std::string_view::npos;
    mismatches.add(sort, std::move(text));
  };
  const auto swappable = [&](std::string_view name) {
    return may_swap && name.find(kNormalizerPart) != std::string_view::npos;
  };
  for (const ParameterSpec& spec : parameters.specs()) {
    const TensorInfo* info = checkpoint.find(spec.name);
    if (info != nullptr && same_shape(*info, spec)) {
      report.loaded.push_back(spec.name);
    } else if (swappable(spec.name)) {
      report.created.push_back({spec.name, value_text(spec.init)});
      if (info != nullptr) report.dropped.push_back(spec.name + " " + info->shape_text());
    } else if (info == nullptr) {
      differs("missing", spec.name, spec.name);
    } else {
      differs(
          "of another shape", spec.name,
          spec.name + " (expected " + spec.shape.text() + ", found " + info->shape_text() + ")");
    }
  }
  for (const TensorInfo& info : checkpoint.tensors()) {
    if (is_moment(info.name) || parameters.find(info.name) >= 0) continue;
    if (swappable(info.name)) {
      report.dropped.push_back(info.name);
    } else {
      differs("unexpected", info.name, info.name);
    }
  }
  mismatches.check(checkpoint, only_normalizers);
  return report;
}

SwapReport load_parameters(const LoadedCheckpoint& checkpoint, const ParameterSet& parameters,
                           std::span<const std::string> allow_change) {
  SwapReport report = match_parameters(checkpoint, parameters, allow_change);
  for (const std::string& name : report.loaded) {
    read_weight(checkpoint, parameters, parameters.find(name));
  }
  return report;
}

SwapReport load_parameters(const LoadedCheckpoint& checkpoint, const ParameterSet& parameters,
                           std::initializer_list<std::string> allow_change) {
  return load_parameters(checkpoint, parameters,
                         std::span(allow_change.begin(), allow_change.size()));
}

std::vector<std::int64_t> load_moments(const LoadedCheckpoint& checkpoint,
                                       const ParameterSet& parameters, const Tensor& first_moment,
                                       const Tensor& second_moment) {
  device::Stream stream(first_moment.device());
  device::fill_zero(stream, first_moment);
  device::fill_zero(stream, second_moment);
  stream.synchronize();
  std::vector<std::int64_t> step_counts;
  for (int index = 0; index < parameters.count(); ++index) {
    const ParameterSpec& spec = parameters.specs()[static_cast<std::size_t>(index)];
    const TensorInfo* first = checkpoint.find(kFirstMoment + spec.name);
    const TensorInfo* second = checkpoint.find(kSecondMoment + spec.name);
    if ((first == nullptr) != (second == nullptr)) {
      throw base::Error(base::ErrorKind::checkpoint,
                        checkpoint.folder().string() + ": expected both moments of " + spec.name +
                            ", found the " + (first != nullptr ? "first" : "second") + " only");
    }
    // A parameter that a swap creates anew starts without a past.
    const TensorInfo* weight = checkpoint.find(spec.name);
    if (first == nullptr || weight == nullptr || !same_shape(*weight, spec)) {
      step_counts.push_back(0);
      continue;
    }
    for (const TensorInfo* moment : {first, second}) {
      if (same_shape(*moment, spec)) continue;
      throw base::Error(base::ErrorKind::checkpoint, checkpoint.folder().string() + ": tensor " +
                                                         moment->name + ": expected the shape " +
                                                         spec.shape.text() + ", found " +
                                                         moment->shape_text());
    }
    if (const auto part = held(parameters, index)) {
      const std::int64_t count = part->range.count();
      checkpoint.read_elements(first->name, part->first, first_moment.rows(part->offset, count));
      checkpoint.read_elements(second->name, part->first, second_moment.rows(part->offset, count));
    }
    step_counts.push_back(checkpoint.manifest().integer(kStepCount + spec.name));
  }
  return step_counts;
}

std::vector<NamedTensor> model_tensors(const ParameterSet& parameters) {
  return model_tensors(parameters, parameters.flat_master());
}

std::vector<NamedTensor> model_tensors(const ParameterSet& parameters,
                                       const ConstTensor& flat_master) {
  std::vector<NamedTensor> tensors;
  for (int index = 0; index < parameters.count(); ++index) {
    tensors.push_back({parameters.specs()[static_cast<std::size_t>(index)].name,
                       slice(parameters, flat_master, index)});
  }
  return tensors;
}

std::vector<NamedTensor> moment_tensors(const ParameterSet& parameters,
                                        const ConstTensor& first_moment,
                                        const ConstTensor& second_moment) {
  std::vector<NamedTensor> tensors;
  for (int index = 0; index < parameters.count(); ++index) {
    const ParameterSpec& spec = parameters.specs()[static_cast<std::size_t>(index)];
    const auto part = held(parameters, index);
    if (!part) continue;
    const std::int64_t count = part->range.count();
    const auto add = [&](const char* prefix, const ConstTensor& moments) {
      const ConstTensor values = moments.rows(part->offset, count);
      if (count == spec.shape.elements()) {
        tensors.push_back({prefix + spec.name, values.reshaped(spec.shape)});
      } else {
        const auto extents = spec.shape.extents();
        tensors.push_back(
            {prefix + spec.name, values, Fragment{{extents.begin(), extents.end()}, part->first}});
      }
    };
    add(kFirstMoment, first_moment);
    add(kSecondMoment, second_moment);
  }
  return tensors;
}

void add_step_counts(Manifest& manifest, const ParameterSet& parameters,
                     std::span<const std::int64_t> step_counts) {
  if (step_counts.size() != parameters.specs().size()) {
    throw std::logic_error("one step count for each parameter");
  }
  for (std::size_t index = 0; index < step_counts.size(); ++index) {
    manifest.state[kStepCount + parameters.specs()[index].name] = step_counts[index];
  }
}

}  // namespace ssmax::checkpoint
