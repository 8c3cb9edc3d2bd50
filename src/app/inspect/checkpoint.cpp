#include <algorithm>
#include <ostream>
#include <vector>

#include "app/inspect/parts.h"
#include "app/table.h"
#include "base/errors.h"
#include "base/format.h"
#include "base/text.h"
#include "checkpoint/checkpoint_store.h"
#include "checkpoint/load.h"
#include "checkpoint/match.h"

namespace ssmax::app {

namespace fs = std::filesystem;

using base::ErrorKind;

namespace {

std::string window_text(const std::vector<double>& values) {
  if (values.empty()) return "empty";
  const auto [least, greatest] = std::minmax_element(values.begin(), values.end());
  return std::to_string(values.size()) + " values from " + number_text(*least) + " to " +
         number_text(*greatest) + ", last " + number_text(values.back());
}

void print_manifest(std::ostream& out, const checkpoint::Manifest& manifest) {
  Table table({"key", "value"}, {Align::left, Align::left});
  table.add({"step", number_text(manifest.step)});
  table.add({"tokens", number_text(manifest.tokens)});
  table.add({"epoch", number_text(manifest.epoch)});
  table.add({"global sample index", number_text(manifest.global_sample_index)});
  table.add({"seed", number_text(manifest.seed)});
  table.add({"ranks", number_text(manifest.world_size)});
  table.add({"data", base::printable(manifest.data_fingerprint)});
  table.add({"program", base::printable(manifest.program_version + " " + manifest.git_hash)});
  table.add({"recent losses", window_text(manifest.recent_losses)});
  table.add({"recent norms", window_text(manifest.recent_norms)});
  std::int64_t step_counts = 0;
  for (const auto& [key, value] : manifest.state) {
    if (key.starts_with(checkpoint::kStepCount)) {
      ++step_counts;
      continue;
    }
    table.add({"state " + base::printable(key), number_text(value)});
  }
  table.add({"step counts", number_text(step_counts) + " parameters"});
  table.print(out);
}

/// A row of the table of a run's checkpoints; false when the checkpoint is damaged.
bool add_checkpoint(Table& table, const fs::path& folder) {
  const std::string name = folder.filename().string();
  try {
    const checkpoint::LoadedCheckpoint loaded(folder);
    std::int64_t bytes = 0;
    for (const checkpoint::WrittenFile& file : loaded.manifest().files) bytes += file.bytes;
    table.add({name, number_text(loaded.manifest().step), number_text(loaded.manifest().tokens),
               base::format_bytes(bytes), "valid"});
    return true;
  } catch (const base::Error& error) {
    table.add({name, "-", "-", "-", std::string("DAMAGED: ") + error.what()});
    return false;
  }
}

}  // namespace

void inspect_checkpoint(std::ostream& out, const fs::path& folder) {
  const checkpoint::Manifest manifest =
      checkpoint::read_manifest(folder / checkpoint::kManifestName);
  out << folder.string() << ": checkpoint\n\n";
  print_manifest(out, manifest);
  const std::vector<std::string> differences = checkpoint::verify_files(manifest, folder);
  out << '\n';
  Table files({"file", "bytes", "hash", "verified"}, {Align::left, Align::right, Align::left});
  for (const checkpoint::WrittenFile& file : manifest.files) {
    const bool differs =
        std::any_of(differences.begin(), differences.end(), [&](const std::string& text) {
          return text.find((folder / file.name).string()) != std::string::npos;
        });
    files.add({file.name, number_text(file.bytes), file.xxh3_128, differs ? "DAMAGED" : "yes"});
  }
  files.print(out);
  if (!differences.empty()) {
    std::string message = "the checkpoint is damaged";
    for (const std::string& difference : differences) message += "; " + difference;
    throw base::Error(ErrorKind::checkpoint, message);
  }
  for (const checkpoint::WrittenFile& file : manifest.files) {
    if (!file.name.ends_with(".safetensors")) continue;
    out << '\n';
    inspect_tensors(out, folder / file.name);
  }
}

void inspect_run(std::ostream& out, const fs::path& folder) {
  out << folder.string() << ": run\n";
  const std::vector<fs::path> checkpoints = checkpoint::step_folders(folder);
  std::int64_t damaged = 0;
  if (!checkpoints.empty()) {
    out << '\n';
    Table table({"checkpoint", "step", "tokens", "size", "state"},
                {Align::left, Align::right, Align::right, Align::right, Align::left});
    for (const fs::path& path : checkpoints) damaged += add_checkpoint(table, path) ? 0 : 1;
    table.print(out);
  }
  if (fs::exists(folder / "metrics.jsonl")) {
    out << '\n';
    inspect_metrics(out, folder / "metrics.jsonl");
  }
  if (fs::exists(folder / "config.json")) {
    out << '\n' << (folder / "config.json").string() << ": config\n\n";
    print_values(out, read_json(folder / "config.json"));
  }
  if (damaged > 0) {
    throw base::Error(ErrorKind::checkpoint, folder.string() + ": " + number_text(damaged) +
                                                 " of " + std::to_string(checkpoints.size()) +
                                                 " checkpoints are damaged");
  }
}

}  // namespace ssmax::app
