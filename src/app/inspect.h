#pragma once

#include <filesystem>
#include <string>

namespace CLI {
class App;
}

namespace ssmax::app {

/// The subcommand `ssmax inspect FILE_OR_DIR`.
void add_inspect(CLI::App& app);

/// What `ssmax inspect` prints about a safetensors file, a checkpoint or run folder, a token shard,
/// a prepared-data folder or manifest, metrics.jsonl or a JSON file.
std::string inspect_text(const std::filesystem::path& path);

}  // namespace ssmax::app
