#include "app/open_model.h"

#include <filesystem>

#include "base/log.h"
#include "checkpoint/match.h"
#include "device/parallel.h"

namespace ssmax::app {

train::RunConfig config_of(const checkpoint::LoadedCheckpoint& loaded,
                           const std::vector<std::string>& overrides) {
  const std::string source = (loaded.folder() / checkpoint::kManifestName).string();
  return base::parse_config<train::RunConfig>(loaded.manifest().config, source, overrides)
      .resolved();
}

OpenModel::OpenModel(checkpoint::LoadedCheckpoint from, const std::vector<std::string>& overrides)
    : loaded(std::move(from)),
      config(config_of(loaded, overrides)),
      stream(config.compute_device()),
      arena(config.compute_device()),
      model(config.model, config.activation_dtype(), params::Gradients::none, arena) {
  device::set_cpu_threads(static_cast<int>(config.training.threads));
  for (const std::string& warning : loaded.warnings()) base::log_warning(warning);
  checkpoint::load_parameters(loaded, model.parameters());
  model.parameters().refresh_compute(stream);
}

std::optional<corpus::Tokenizer> find_tokenizer(const std::string& name,
                                                const std::vector<std::string>& shards,
                                                std::int64_t vocab_size) {
  std::optional<corpus::Tokenizer> tokenizer;
  if (!name.empty()) {
    tokenizer = corpus::Tokenizer::named(name);
  } else if (!shards.empty()) {
    const auto beside = std::filesystem::path(shards.front()).parent_path() / "tokenizer.json";
    if (std::filesystem::exists(beside)) tokenizer = corpus::Tokenizer::load(beside);
  }
  if (tokenizer && tokenizer->vocab_size() > vocab_size) {
    throw base::Error(base::ErrorKind::data, "the tokenizer " + tokenizer->name() + " has " +
                                                 std::to_string(tokenizer->vocab_size()) +
                                                 " ids, the model " + std::to_string(vocab_size) +
                                                 "; name the right one with --tokenizer");
  }
  return tokenizer;
}

std::optional<corpus::Tokenizer> find_tokenizer(const std::string& name,
                                                const std::vector<std::string>& shards,
                                                std::int64_t vocab_size,
                                                const checkpoint::LoadedCheckpoint& loaded) {
  auto tokenizer = find_tokenizer(name, shards, vocab_size);
  if (tokenizer) return tokenizer;
  // RUN/checkpoints/step_N
  const auto file = loaded.folder().parent_path().parent_path() / "tokenizer.json";
  return std::filesystem::exists(file) ? find_tokenizer(file.string(), {}, vocab_size)
                                       : std::nullopt;
}

corpus::Tokenizer need_tokenizer(const std::string& name, const OpenModel& open) {
  const corpus::DataConfig& data = open.config.data;
  std::optional<corpus::Tokenizer> tokenizer = find_tokenizer(
      name.empty() ? data.tokenizer : name, data.train, open.config.model.vocab_size);
  if (!tokenizer) {
    throw base::Error(base::ErrorKind::usage,
                      "no tokenizer.json beside the shards of data.train; name the tokenizer with "
                      "--tokenizer bytes|FOLDER|FILE");
  }
  return *tokenizer;
}

}  // namespace ssmax::app
