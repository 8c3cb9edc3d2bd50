#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/load.h"
#include "params/parameter_set.h"

namespace ssmax::checkpoint {

inline constexpr char kFirstMoment[] = "first_moment.";    ///< + the parameter's name
inline constexpr char kSecondMoment[] = "second_moment.";  ///< + the parameter's name
inline constexpr char kStepCount[] = "step_count.";  ///< + the parameter's name: manifest state

/// What becomes of every tensor when a checkpoint is loaded into a model.
struct SwapReport {
  struct Created {
    std::string name;
    std::string value;  ///< what it starts as: "1", "normal(0, 0.02)", "ln(1), ln(2), ..."
  };
  std::vector<std::string> loaded;
  std::vector<Created> created;
  std::vector<std::string> dropped;
};

/// Lines for people: counts of what is loaded, names of what is created and dropped.
std::string to_text(const SwapReport& report);

/// True when the dotted config key lies at or below one of the prefixes.
bool is_allowed(std::string_view key, std::span<const std::string> allow_change);

/// Compares by name and shape, reads nothing. With "model.normalizer" in `allow_change` tensors
/// with ".normalizer." in their names may be created (also when the shape has changed) or dropped;
/// any other difference is Error(checkpoint) with the first few names.
SwapReport match_parameters(const LoadedCheckpoint& checkpoint,
                            const params::ParameterSet& parameters,
                            std::span<const std::string> allow_change = {});

/// The same, then reads the weights of what is loaded, as much of them as this rank holds; what is
/// created keeps the value that ParameterSet::initialize gave it. Ends without
/// ParameterSet::refresh_compute, which a whole master needs.
SwapReport load_parameters(const LoadedCheckpoint& checkpoint,
                           const params::ParameterSet& parameters,
                           std::span<const std::string> allow_change = {});
SwapReport load_parameters(const LoadedCheckpoint& checkpoint,
                           const params::ParameterSet& parameters,
                           std::initializer_list<std::string> allow_change);

/// Fills the moments of ParameterSet::updated(), its pieces one after the other; gaps become zero.
/// Returns the optimizer steps that each parameter has seen, in the order of the specs: 0 where
/// the file has no moments. Error(checkpoint) when only one of a parameter's two moments, or no
/// step count, is there.
std::vector<std::int64_t> load_moments(const LoadedCheckpoint& checkpoint,
                                       const params::ParameterSet& parameters,
                                       const device::Tensor& first_moment,
                                       const device::Tensor& second_moment);

/// The tensors of model.safetensors: slices, under their names, of whole master weights, which are
/// ParameterSet::flat_master() unless that is partial.
std::vector<NamedTensor> model_tensors(const params::ParameterSet& parameters,
                                       const device::ConstTensor& flat_master);
std::vector<NamedTensor> model_tensors(const params::ParameterSet& parameters);

/// The tensors of an optimizer file: moments of ParameterSet::updated(), its pieces one after the
/// other; fragments where a piece ends within a parameter.
std::vector<NamedTensor> moment_tensors(const params::ParameterSet& parameters,
                                        const device::ConstTensor& first_moment,
                                        const device::ConstTensor& second_moment);

/// Puts the step counts into the manifest's state.
void add_step_counts(Manifest& manifest, const params::ParameterSet& parameters,
                     std::span<const std::int64_t> step_counts);

}  // namespace ssmax::checkpoint
