#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "checkpoint/checkpoint_store.h"
#include "checkpoint/load.h"
#include "checkpoint/match.h"
#include "support/files.h"
#include "support/temporary_folder.h"

namespace ssmax::checkpoint {

namespace fs = std::filesystem;

using support::read_all;
using support::TemporaryFolder;
using support::write_all;

/// The message of the Error that `work` throws, which must be of `kind`; "" when it throws none.
inline std::string error_of(base::ErrorKind kind, const std::function<void()>& work) {
  try {
    work();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  return "";
}

inline std::string checkpoint_error(const std::function<void()>& work) {
  return error_of(base::ErrorKind::checkpoint, work);
}

/// A few parameters with moments, as a training run has them.
struct TinyRun {
  using Specs = std::vector<params::ParameterSpec>;

  static Specs specs(Specs normalizer = {{"model.layers.0.self_attn.normalizer.scale",
                                          {4},
                                          {params::Init::Kind::constant, 1.0}}}) {
    const params::Init normal{params::Init::Kind::normal, 0.02};
    Specs all = {{"model.embed_tokens.weight", {150, 16}, normal},
                 {"model.layers.0.self_attn.q_proj.weight", {16, 16}, normal}};
    all.insert(all.end(), normalizer.begin(), normalizer.end());
    all.push_back({"model.norm.weight", {16}, {params::Init::Kind::constant, 1.0}});
    return all;
  }

  explicit TinyRun(std::uint64_t seed = 1, Specs list = specs())
      : parameters(std::move(list), device::DType::f32, params::Gradients::none, arena),
        first(arena.allocate("first moment", device::DType::f32, {parameters.flat_elements()})),
        second(arena.allocate("second moment", device::DType::f32, {parameters.flat_elements()})) {
    device::Stream stream;
    parameters.initialize(stream, seed);
    for (int index = 0; index < parameters.count(); ++index) {
      const auto [begin, end] = parameters.range(index);
      for (std::int64_t i = begin; i < end; ++i) {
        first.data<float>()[i] = static_cast<float>(seed) * 0.25F + static_cast<float>(i);
        second.data<float>()[i] = static_cast<float>(i) * 0.5F;
      }
    }
  }

  std::vector<TensorFile> files() const {
    return tensor_files(model_tensors(parameters), moment_tensors(parameters, first, second));
  }

  Manifest manifest(std::int64_t step) const {
    Manifest result;
    result.step = step;
    result.tokens = step * 64;
    result.epoch = 2;
    result.global_sample_index = step * 4;
    result.seed = -7;
    result.data_fingerprint = "fingerprint";
    result.config = "{\n  \"learning_rate\": 0.0006,\n  \"name\": \"b\"\n}\n";
    result.recent_losses = {5.0, 0.1, 1e-300};
    result.recent_norms = {1.0 / 3.0};
    result.state["cooldown"] = 3;
    const std::vector<std::int64_t> counts(parameters.specs().size(), step);
    add_step_counts(result, parameters, counts);
    return result;
  }

  device::Arena arena;
  params::ParameterSet parameters;
  device::Tensor first, second;
};

inline bool same_bytes(const device::ConstTensor& a, const device::ConstTensor& b) {
  return a.bytes() == b.bytes() &&
         std::memcmp(a.raw(), b.raw(), static_cast<std::size_t>(a.bytes())) == 0;
}

/// Loads everything into a run of another seed and compares weights and moments bit by bit.
inline void expect_holds(const LoadedCheckpoint& checkpoint, const TinyRun& expected) {
  TinyRun loaded(99);
  load_parameters(checkpoint, loaded.parameters);
  const std::vector<std::int64_t> step_counts =
      load_moments(checkpoint, loaded.parameters, loaded.first, loaded.second);
  EXPECT_TRUE(same_bytes(loaded.parameters.flat_master(), expected.parameters.flat_master()));
  EXPECT_TRUE(same_bytes(loaded.first, expected.first));
  EXPECT_TRUE(same_bytes(loaded.second, expected.second));
  EXPECT_EQ(step_counts, std::vector<std::int64_t>(4, checkpoint.manifest().step));
}

/// Names in RUN/checkpoints, sorted.
inline std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace ssmax::checkpoint
