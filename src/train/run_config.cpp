#include "train/run_config.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/text.h"
#include "checkpoint/load.h"
#include "device/gpus.h"

namespace ssmax::train {

namespace {

/// Mean of ln n over n = 1..length.
double mean_log_length(std::int64_t length) {
  return std::lgamma(static_cast<double>(length) + 1.0) / static_cast<double>(length);
}

/// Dotted keys below `section` named initial_scale whose value is 0, which asks for the automatic.
void find_automatic_scales(const base::JsonValue& section, const std::string& prefix,
                           std::vector<std::string>& keys) {
  for (const base::JsonMember& member : section.members) {
    const std::string key = std::string(prefix).append(".").append(member.key);
    if (member.value.type == base::JsonValue::Type::object) {
      find_automatic_scales(member.value, key, keys);
    } else if (member.key == "initial_scale" && member.value.number == 0.0) {
      keys.push_back(key);
    }
  }
}

/// 1 from scratch; 1 / mean ln n keeps the mean scale of the scores at the moment of a swap.
void resolve_initial_scales(RunConfig& config) {
  const base::JsonValue json = base::config_json(config.model);
  std::vector<std::string> keys;
  find_automatic_scales(*json.find("normalizer"), "model.normalizer", keys);
  const double mean_log = mean_log_length(config.data.sequence_length);
  // At T = 1 every ln n is 0, and so is the mean.
  const double scale = config.start.checkpoint.empty() || mean_log == 0.0 ? 1.0 : 1.0 / mean_log;
  for (std::string& key : keys) {
    key.append("=").append(base::to_text(base::JsonValue::of(scale)));
  }
  base::override_config(config, keys);
}

/// A misspelled key would allow nothing.
void check_allowed_changes(const RunConfig& config) {
  const base::JsonValue model = base::config_json(config.model);
  std::vector<std::string> keys = {"model"};
  for (const base::JsonMember& member : model.members) keys.push_back("model." + member.key);
  const std::vector<std::string_view> names(keys.begin(), keys.end());
  for (const std::string& allowed : config.start.allow_change) {
    const auto is_below = [&](const std::string& key) {
      return allowed == key || (key != "model" && allowed.starts_with(key + "."));
    };
    if (std::ranges::any_of(keys, is_below)) continue;
    throw base::FieldError("start.allow_change",
                           "\"" + allowed + "\" is no key of a model, did you mean \"" +
                               std::string(base::nearest(allowed, names)) + "\"?");
  }
}

}  // namespace

void RunConfig::validate() const {
  const std::int64_t micro = training.micro_batch_sequences;
  if (micro != 0 && training.batch_sequences % micro != 0) {
    throw base::FieldError("training.micro_batch_sequences",
                           "must divide training.batch_sequences (" +
                               std::to_string(training.batch_sequences) + "), found " +
                               std::to_string(micro));
  }
  if (start.model == ModelSource::checkpoint && start.checkpoint.empty()) {
    throw base::FieldError("start.model", "checkpoint needs start.checkpoint");
  }
  if (start.continue_run && start.checkpoint.empty()) {
    throw base::FieldError("start.continue_run", "needs start.checkpoint");
  }
  check_allowed_changes(*this);
  const std::int64_t positions = model.max_position_embeddings;
  if (model.position.kind == model::PositionKind::learned && positions != 0 &&
      positions < data.sequence_length) {
    throw base::FieldError("model.max_position_embeddings",
                           "learned positions must reach data.sequence_length (" +
                               std::to_string(data.sequence_length) + "), found " +
                               std::to_string(positions));
  }
}

RunConfig RunConfig::resolved() const {
  RunConfig result = *this;
  result.model.num_key_value_heads = model.key_value_heads();
  if (result.model.max_position_embeddings == 0) {
    result.model.max_position_embeddings = data.sequence_length;
  }
  resolve_initial_scales(result);
  return result;
}

RunConfig RunConfig::with_epochs(std::int64_t samples) const {
  const double steps_per_epoch =
      static_cast<double>(samples) / static_cast<double>(training.batch_sequences);
  const auto steps_of = [&](double epochs) {
    constexpr double kMost = 0x1p62;  // beyond all that ends
    return std::max<std::int64_t>(1, std::llround(std::min(epochs * steps_per_epoch, kMost)));
  };
  RunConfig result = *this;
  if (training.epochs > 0) result.training.steps = steps_of(training.epochs);
  if (schedule.warmup_epochs > 0) {
    result.schedule.warmup_steps = steps_of(schedule.warmup_epochs);
  }
  return result;
}

device::DType RunConfig::activation_dtype() const {
  switch (training.precision) {
    case Precision::fp32:
      return device::DType::f32;
    case Precision::bf16:
      return device::DType::bf16;
    case Precision::fp64:
      return device::DType::f64;
  }
  return device::DType::f32;
}

device::DType RunConfig::matmul_dtype() const {
  return training.precision == Precision::bf16 ? device::DType::bf16 : device::DType::f32;
}

RunConfig saved_config(const checkpoint::LoadedCheckpoint& loaded,
                       std::span<const std::string> overrides) {
  const std::string source = (loaded.folder() / checkpoint::kManifestName).string();
  return base::parse_config<RunConfig>(loaded.manifest().config, source, overrides);
}

RunConfig with_start_model(const RunConfig& config, const std::filesystem::path& folder) {
  if (config.start.model == ModelSource::config) return config;
  auto newest = checkpoint::load_newest(folder, checkpoint::Verify::nothing);
  const checkpoint::LoadedCheckpoint source =
      newest ? *std::move(newest)
             : checkpoint::load(config.start.checkpoint, checkpoint::Verify::nothing);
  RunConfig result = config;
  result.model = saved_config(source).model;
  RunConfig untouched = config;
  untouched.model = model::ModelConfig();
  const auto own = base::config_differences(untouched, config);
  for (const base::ConfigDifference& difference : base::config_differences(result, config)) {
    const bool named =
        std::ranges::any_of(own, [&](const auto& d) { return d.key == difference.key; });
    if (!named) continue;
    throw base::Error(base::ErrorKind::usage, "start.model=checkpoint takes the model from " +
                                                  source.folder().string() + ", where " +
                                                  difference.key + " is " + difference.left +
                                                  ", but the config says " + difference.right +
                                                  "; leave the key out, or use start.model=config");
  }
  return result;
}

device::Device RunConfig::compute_device(int local_rank) const {
  const bool wide = training.precision == Precision::fp64;
  const auto& gpus = device::gpus().found;
  const auto gpu_of_rank = [&] {
    return device::gpu_device(
        gpus.empty() ? 0 : gpus[static_cast<std::size_t>(local_rank) % gpus.size()].index);
  };
  switch (training.device) {
    case DeviceChoice::cpu:
      break;
    case DeviceChoice::cuda:
      if (wide) {
        throw base::Error(base::ErrorKind::usage,
                          "training.precision=fp64 runs on the CPU only; use bf16 or fp32, or "
                          "training.device=cpu");
      }
      return gpu_of_rank();
    case DeviceChoice::automatic:
      if (!wide && !gpus.empty()) return gpu_of_rank();
      break;
  }
  return {};
}

std::vector<base::ConfigDifference> model_changes(const RunConfig& saved, const RunConfig& now) {
  std::vector<base::ConfigDifference> changes;
  for (base::ConfigDifference& difference : base::config_differences(saved, now)) {
    const std::string& key = difference.key;
    const bool of_model = key.starts_with("model.");
    const bool of_start = key.find(".initial") != std::string::npos;
    const bool of_shape = key == "model.max_position_embeddings";
    if (of_model && !of_start && !of_shape) changes.push_back(std::move(difference));
  }
  return changes;
}

}  // namespace ssmax::train
