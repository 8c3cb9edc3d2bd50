#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "base/config.h"
#include "base/strict_json.h"
#include "checkpoint/safetensors.h"
#include "model/model.h"

namespace ssmax::model {

inline std::filesystem::path golden_folder() {
  return std::filesystem::path(SSMAX_SOURCE_DIR) / "tests/golden/model";
}

/// A golden file: tensors as doubles, and the model section of its config.
class Golden {
 public:
  explicit Golden(const std::string& name) : file_(golden_folder() / (name + ".safetensors")) {
    const base::JsonValue config =
        base::parse_json_value(file_.metadata().at("config"), name, base::ErrorKind::usage);
    length_ = config.find("sequence_length")->integer;
    model_ = base::parse_config<ModelConfig>(base::to_text(*config.find("model")), name);
    if (model_.max_position_embeddings == 0) model_.max_position_embeddings = length_;
  }

  const ModelConfig& config() const { return model_; }
  std::int64_t length() const { return length_; }
  bool has(const std::string& name) const { return file_.find(name) != nullptr; }

  std::vector<double> values(const std::string& name) const {
    const checkpoint::TensorInfo* info = file_.find(name);
    if (info == nullptr) throw std::runtime_error("golden file lacks " + name);
    std::vector<std::byte> bytes(static_cast<std::size_t>(info->bytes()));
    file_.read_bytes(*info, 0, bytes);
    return checkpoint::values_of(info->dtype, bytes);
  }

  std::vector<std::int32_t> integers(const std::string& name) const {
    const std::vector<double> all = values(name);
    return {all.begin(), all.end()};
  }

  /// Fills the master weights from `prefix` + name.
  void load_weights(Stream& stream, const Model& model, const std::string& prefix) const {
    const params::ParameterSet& set = model.parameters();
    for (int i = 0; i < set.count(); ++i) {
      const Tensor master = set.master(i);
      file_.read_converted(prefix + set.specs()[static_cast<std::size_t>(i)].name, master);
    }
    set.refresh_compute(stream);
  }

 private:
  checkpoint::SafetensorsFile file_;
  ModelConfig model_;
  std::int64_t length_ = 0;
};

inline std::vector<double> values_of(const ConstTensor& tensor) {
  std::vector<double> values;
  device::dispatch(tensor.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* data = tensor.data<T>();
    for (std::int64_t i = 0; i < tensor.elements(); ++i) {
      values.push_back(static_cast<double>(data[i]));
    }
  });
  return values;
}

/// Largest difference over the largest magnitude expected, or over `floor` where that is larger:
/// some gradients are zero but for rounding (a key's bias under Softmax).
inline double relative_error(const std::vector<double>& found, const std::vector<double>& expected,
                             double floor = 0.0) {
  double error = 0.0;
  double scale = floor;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    error = std::max(error, std::isnan(found[i]) ? INFINITY : std::abs(found[i] - expected[i]));
    scale = std::max(scale, std::abs(expected[i]));
  }
  return scale == 0.0 ? error : error / scale;
}

/// Root mean square of the difference over that of what is expected.
inline double rms_error(const std::vector<double>& found, const std::vector<double>& expected) {
  double error = 0.0;
  double scale = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    error += (found[i] - expected[i]) * (found[i] - expected[i]);
    scale += expected[i] * expected[i];
  }
  return std::sqrt(error / scale);
}

}  // namespace ssmax::model
