#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/hugging_face/config.h"
#include "checkpoint/hugging_face/folder.h"
#include "params/parameter_set.h"

namespace ssmax::checkpoint::hugging_face {

inline constexpr char kConfigFile[] = "config.json";

/// A Hugging Face folder that is to become a checkpoint: config.json and weights, read strictly.
class ForeignModel {
 public:
  /// Reads config.json and the headers of the weights. Error(checkpoint).
  explicit ForeignModel(const std::filesystem::path& folder);

  const ForeignConfig& config() const { return config_; }

  /// Compares names and shapes with the model that the config makes, and reads nothing: every
  /// tensor there is used, every tensor of ours is there. Error(checkpoint) with the first few.
  void check(const std::vector<params::ParameterSpec>& specs) const;

  /// check(), then fills the master weights, which are on the CPU. Error(checkpoint) for numbers
  /// that are not finite.
  void read(const params::ParameterSet& parameters, const WeightProgress& progress = {}) const;

 private:
  std::vector<ForeignTensor> expected(const std::vector<params::ParameterSpec>& specs) const;
  const TensorInfo* find(const std::string& name) const;
  bool is_ignored(const std::string& name) const;
  void check_tied_output() const;

  ForeignConfig config_;
  WeightFolder weights_;
};

}  // namespace ssmax::checkpoint::hugging_face
