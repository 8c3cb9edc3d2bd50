#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/load.h"
#include "corpus/tokenizer.h"
#include "model/model.h"
#include "train/run_config.h"

namespace ssmax::app {

/// A checkpoint's model, ready to go forward.
struct OpenModel {
  OpenModel(checkpoint::LoadedCheckpoint loaded, const std::vector<std::string>& overrides);

  checkpoint::LoadedCheckpoint loaded;
  train::RunConfig config;
  device::Stream stream;
  device::Arena arena;
  model::Model model;
};

/// The run's folder that a checkpoint lies in, RUN of RUN/checkpoints/step_N; empty where it lies
/// in none.
std::filesystem::path run_of(const checkpoint::LoadedCheckpoint& loaded);

/// Of the option --tokenizer that find_tokenizer() and those below it take.
inline constexpr char kModelTokenizerHelp[] =
    "bytes, a folder or a tokenizer.json; default the one beside the shards, or of the run";

/// `name` as for Tokenizer::named; empty: tokenizer.json beside the first of `shards`, else the one
/// in the folder of the checkpoint's run; nothing when there is none.
/// Error(data) when its vocabulary is larger than the model's, `vocab_size`.
std::optional<corpus::Tokenizer> find_tokenizer(const std::string& name,
                                                const std::vector<std::string>& shards,
                                                std::int64_t vocab_size,
                                                const checkpoint::LoadedCheckpoint& loaded);

/// `name`, else the tokenizer of the model's data or of its run.
std::optional<corpus::Tokenizer> tokenizer_of(const std::string& name,
                                              const train::RunConfig& config,
                                              const checkpoint::LoadedCheckpoint& loaded);

/// The same; Error(usage) when there is none.
corpus::Tokenizer need_tokenizer(const std::string& name, const OpenModel& open);

}  // namespace ssmax::app
