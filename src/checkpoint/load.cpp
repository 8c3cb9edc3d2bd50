#include "checkpoint/load.h"

#include <algorithm>

#include "base/errors.h"
#include "base/hash.h"
#include "base/read_file.h"
#include "base/text.h"
#include "checkpoint/checkpoint_store.h"

namespace ssmax::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kChunkBytes = std::int64_t{8} << 20;

[[noreturn]] void fail(const std::string& reason) {
  throw base::Error(base::ErrorKind::checkpoint, reason);
}

std::string hash_file(const base::InputFile& file) {
  base::Hasher hasher;
  std::vector<std::byte> chunk(static_cast<std::size_t>(std::min(kChunkBytes, file.size())));
  for (std::int64_t offset = 0; offset < file.size(); offset += kChunkBytes) {
    const auto bytes = std::span(chunk).first(
        static_cast<std::size_t>(std::min(kChunkBytes, file.size() - offset)));
    file.read(bytes, offset);
    hasher.update(bytes);
  }
  return hasher.hex();
}

/// What differs between a file and what the manifest says about it; empty when nothing does.
std::string difference(const WrittenFile& expected, const fs::path& path) {
  try {
    const base::InputFile file(path, base::ErrorKind::checkpoint);
    if (file.size() != expected.bytes) {
      return path.string() + ": expected " + std::to_string(expected.bytes) + " bytes, found " +
             std::to_string(file.size());
    }
    if (const std::string hash = hash_file(file); hash != expected.xxh3_128) {
      return path.string() + ": expected the hash " + expected.xxh3_128 + ", found " + hash +
             ": the file is damaged";
    }
  } catch (const base::Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

std::vector<std::string> verify_files(const Manifest& manifest, const fs::path& folder) {
  std::vector<std::string> differences;
  for (const WrittenFile& file : manifest.files) {
    std::string found = difference(file, folder / file.name);
    if (!found.empty()) differences.push_back(std::move(found));
  }
  return differences;
}

LoadedCheckpoint::LoadedCheckpoint(const fs::path& folder)
    : folder_(folder), manifest_(read_manifest(folder / kManifestName)) {
  const std::vector<std::string> differences = verify_files(manifest_, folder);
  if (!differences.empty()) fail(differences.front());
  if (const std::int64_t step = step_of_folder_name(folder.filename().string());
      step >= 0 && step != manifest_.step) {
    fail((folder / kManifestName).string() + ": expected step " + std::to_string(step) +
         " by the folder's name, found " + std::to_string(manifest_.step));
  }
  for (const WrittenFile& file : manifest_.files) {
    if (!file.name.ends_with(".safetensors")) continue;
    files_.emplace_back(folder / file.name);
    const std::vector<TensorInfo>& tensors = files_.back().tensors();
    for (const TensorInfo& tensor : tensors) {
      const Place place{files_.size() - 1, tensors_.size()};
      if (!places_.emplace(tensor.name, place).second) {
        fail((folder / file.name).string() + ": tensor " + base::in_quotes(tensor.name) +
             " is in another file of the checkpoint too");
      }
      tensors_.push_back(tensor);
    }
  }
}

const TensorInfo* LoadedCheckpoint::find(std::string_view name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? nullptr : &tensors_[found->second.tensor];
}

const SafetensorsFile& LoadedCheckpoint::file_of(std::string_view name) const {
  const auto found = places_.find(name);
  if (found == places_.end()) {
    fail(folder_.string() + ": has no tensor " + base::in_quotes(name));
  }
  return files_[found->second.file];
}

void LoadedCheckpoint::read(std::string_view name, const device::Tensor& destination) const {
  file_of(name).read(name, destination);
}

void LoadedCheckpoint::read_converted(std::string_view name,
                                      const device::Tensor& destination) const {
  file_of(name).read_converted(name, destination);
}

std::optional<LoadedCheckpoint> load_newest(const fs::path& run_folder) {
  std::vector<std::string> warnings;
  for (const fs::path& folder : step_folders(run_folder)) {
    try {
      LoadedCheckpoint checkpoint(folder);
      checkpoint.warnings_ = std::move(warnings);
      return checkpoint;
    } catch (const base::Error& error) {
      if (error.kind() != base::ErrorKind::checkpoint) throw;
      warnings.push_back("passed over a damaged checkpoint: " + std::string(error.what()));
    }
  }
  if (warnings.empty()) return std::nullopt;
  std::string reasons;
  for (const std::string& warning : warnings) reasons += "\n  " + warning;
  fail(checkpoints_folder(run_folder).string() +
       ": none of the checkpoints can be used, and training does not start afresh over them; move "
       "them away to do that" +
       reasons);
}

LoadedCheckpoint load(const fs::path& path) {
  std::error_code ignored;
  if (fs::exists(path / kManifestName, ignored) ||
      step_of_folder_name(path.filename().string()) >= 0) {
    return LoadedCheckpoint(path);
  }
  if (!fs::is_directory(path, ignored)) {
    fail(path.string() + ": expected a checkpoint's or a run's folder, found " +
         (fs::exists(path, ignored) ? "a file" : "nothing"));
  }
  std::optional<LoadedCheckpoint> newest = load_newest(path);
  if (!newest) {
    fail(path.string() + ": expected " + kManifestName +
         " of a checkpoint, or the folder checkpoints of a run, found neither");
  }
  return std::move(*newest);
}

}  // namespace ssmax::checkpoint
