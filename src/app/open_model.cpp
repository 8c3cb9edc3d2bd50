#include "app/open_model.h"

#include <algorithm>
#include <filesystem>

#include "base/log.h"
#include "checkpoint/checkpoint_store.h"
#include "checkpoint/match.h"
#include "device/parallel.h"

namespace ssmax::app {

OpenModel::OpenModel(checkpoint::LoadedCheckpoint from, const std::vector<std::string>& overrides)
    : loaded(std::move(from)),
      config(train::saved_config(loaded, overrides).resolved()),
      stream(config.compute_device()),
      arena(config.compute_device()),
      model(config.model, config.activation_dtype(), params::Gradients::none, arena) {
  device::set_cpu_threads(static_cast<int>(config.training.threads));
  for (const std::string& warning : loaded.warnings()) base::log_warning(warning);
  checkpoint::load_parameters(loaded, model.parameters());
  model.parameters().refresh_compute(stream);
}

std::filesystem::path run_of(const checkpoint::LoadedCheckpoint& loaded) {
  const std::filesystem::path folder =
      std::filesystem::absolute(loaded.folder()).lexically_normal();
  const std::filesystem::path run = folder.parent_path().parent_path();
  return checkpoint::checkpoints_folder(run) == folder.parent_path() ? run
                                                                     : std::filesystem::path();
}

std::optional<corpus::Tokenizer> find_tokenizer(const std::string& name,
                                                const std::vector<std::string>& shards,
                                                std::int64_t vocab_size,
                                                const checkpoint::LoadedCheckpoint& loaded) {
  namespace fs = std::filesystem;
  std::optional<corpus::Tokenizer> tokenizer;
  if (!name.empty()) {
    tokenizer = corpus::Tokenizer::named(name);
  } else {
    std::vector<fs::path> places;
    if (!shards.empty()) places.push_back(fs::path(shards.front()).parent_path());
    if (const fs::path run = run_of(loaded); !run.empty()) places.push_back(run);
    const auto place = std::ranges::find_if(
        places, [](const fs::path& folder) { return fs::exists(folder / corpus::kTokenizerFile); });
    if (place == places.end()) return std::nullopt;
    tokenizer = corpus::Tokenizer::load(*place / corpus::kTokenizerFile);
  }
  if (tokenizer->vocab_size() > vocab_size) {
    throw base::Error(base::ErrorKind::data, "the tokenizer " + tokenizer->name() + " has " +
                                                 std::to_string(tokenizer->vocab_size()) +
                                                 " ids, the model " + std::to_string(vocab_size) +
                                                 "; name the right one with --tokenizer");
  }
  return tokenizer;
}

std::optional<corpus::Tokenizer> tokenizer_of(const std::string& name,
                                              const train::RunConfig& config,
                                              const checkpoint::LoadedCheckpoint& loaded) {
  // The config's is a path from where the run was started; the run's folder has the same.
  std::string named = name;
  if (name.empty() &&
      (config.data.tokenizer == "bytes" || std::filesystem::exists(config.data.tokenizer))) {
    named = config.data.tokenizer;
  }
  return find_tokenizer(named, config.data.train, config.model.vocab_size, loaded);
}

corpus::Tokenizer need_tokenizer(const std::string& name, const OpenModel& open) {
  std::optional<corpus::Tokenizer> tokenizer = tokenizer_of(name, open.config, open.loaded);
  if (!tokenizer) {
    throw base::Error(base::ErrorKind::usage,
                      "no tokenizer.json beside the shards of data.train or in the run's folder; "
                      "name the tokenizer with --tokenizer bytes|FOLDER|FILE");
  }
  return *tokenizer;
}

}  // namespace ssmax::app
