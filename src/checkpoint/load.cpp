#include "checkpoint/load.h"

#include <algorithm>

#include "base/checked.h"
#include "base/errors.h"
#include "base/progress.h"
#include "base/read_file.h"
#include "base/text.h"
#include "checkpoint/checkpoint_store.h"
#include "checkpoint/hugging_face/folder.h"

namespace ssmax::checkpoint {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& reason) {
  throw base::Error(base::ErrorKind::checkpoint, reason);
}

/// What differs between a file and what the manifest says about it; empty when nothing does.
std::string difference(const WrittenFile& expected, const fs::path& path,
                       base::Progress& progress) {
  try {
    const base::InputFile file(path, base::ErrorKind::checkpoint);
    if (file.size() != expected.bytes) {
      return path.string() + ": expected " + std::to_string(expected.bytes) + " bytes, found " +
             std::to_string(file.size());
    }
    const std::string hash =
        base::hash_file(file, [&](std::int64_t bytes) { progress.advance(bytes); });
    if (hash != expected.xxh3_128) {
      return path.string() + ": expected the hash " + expected.xxh3_128 + ", found " + hash +
             ": the file is damaged";
    }
  } catch (const base::Error& error) {
    return error.what();
  }
  return "";
}

/// Of the manifest's files, as they are: what it says of them is not believed yet.
std::int64_t bytes_found(const Manifest& manifest, const fs::path& folder) {
  std::int64_t bytes = 0;
  for (const WrittenFile& file : manifest.files) {
    std::error_code error;
    const auto size = fs::file_size(folder / file.name, error);
    if (!error) bytes += static_cast<std::int64_t>(size);
  }
  return bytes;
}

}  // namespace

std::vector<std::string> verify_files(const Manifest& manifest, const fs::path& folder) {
  std::vector<std::string> differences;
  base::ProgressOptions style;
  style.bytes = true;
  base::Progress progress("verifying " + folder.string(), bytes_found(manifest, folder), style);
  for (const WrittenFile& file : manifest.files) {
    std::string found = difference(file, folder / file.name, progress);
    if (!found.empty()) differences.push_back(std::move(found));
  }
  return differences;
}

LoadedCheckpoint::LoadedCheckpoint(const fs::path& folder, Verify verify)
    : folder_(folder), manifest_(read_manifest(folder / kManifestName)) {
  if (verify == Verify::hashes) {
    const std::vector<std::string> differences = verify_files(manifest_, folder);
    if (!differences.empty()) fail(differences.front());
  }
  if (const std::int64_t step = step_of_folder_name(folder.filename().string());
      step >= 0 && step != manifest_.step) {
    fail((folder / kManifestName).string() + ": expected step " + std::to_string(step) +
         " by the folder's name, found " + std::to_string(manifest_.step));
  }
  for (const WrittenFile& file : manifest_.files) {
    if (file.name.ends_with(".safetensors")) open_file(folder / file.name);
  }
  check_coverage();
}

void LoadedCheckpoint::open_file(const fs::path& path) {
  files_.emplace_back(path);
  for (const TensorInfo& tensor : files_.back().tensors()) {
    const std::optional<Fragment> fragment = files_.back().fragment(tensor);
    const Place place{files_.size() - 1, fragment ? fragment->begin : 0, tensor};
    const auto [known, added] = logical_.try_emplace(tensor.name);
    Logical& logical = known->second;
    if (added) {
      TensorInfo whole = tensor;
      if (fragment) {
        whole.shape = fragment->shape;
        whole.begin = 0;
        whole.end = base::checked_product(fragment->elements(), size_of(tensor.dtype));
      }
      logical.index = tensors_.size();
      tensors_.push_back(std::move(whole));
    } else {
      const TensorInfo& whole = tensors_[logical.index];
      const std::vector<std::int64_t>& shape = fragment ? fragment->shape : tensor.shape;
      if (shape != whole.shape || tensor.dtype != whole.dtype) {
        fail(path.string() + ": tensor " + base::in_quotes(tensor.name) +
             " is in another file of the checkpoint too, and they are not fragments of one tensor");
      }
    }
    logical.places.push_back(place);
  }
}

void LoadedCheckpoint::check_coverage() const {
  for (const auto& [name, logical] : logical_) {
    std::vector<Place> places = logical.places;
    std::ranges::sort(places, {}, &Place::first);
    const auto fail_at = [&, &tensor_name = name](std::int64_t element) {
      fail(folder_.string() + ": the fragments of tensor " + base::in_quotes(tensor_name) +
           " overlap or leave a gap at element " + std::to_string(element));
    };
    std::int64_t end = 0;
    for (const Place& place : places) {
      if (place.first != end) fail_at(std::min(place.first, end));
      end += place.tensor.elements();
    }
    if (end != tensors_[logical.index].elements()) fail_at(end);
  }
}

const TensorInfo* LoadedCheckpoint::find(std::string_view name) const {
  const auto found = logical_.find(name);
  return found == logical_.end() ? nullptr : &tensors_[found->second.index];
}

const LoadedCheckpoint::Logical& LoadedCheckpoint::get(std::string_view name) const {
  const auto found = logical_.find(name);
  if (found == logical_.end()) {
    fail(folder_.string() + ": has no tensor " + base::in_quotes(name));
  }
  return found->second;
}

void LoadedCheckpoint::check_shape(std::string_view name, const device::Tensor& destination) const {
  const TensorInfo& info = tensors_[get(name).index];
  const auto extents = destination.shape().extents();
  if (std::equal(extents.begin(), extents.end(), info.shape.begin(), info.shape.end())) return;
  fail(folder_.string() + ": tensor " + base::in_quotes(name) + ": expected the shape " +
       destination.shape().text() + ", found " + info.shape_text());
}

void LoadedCheckpoint::read(std::string_view name, const device::Tensor& destination) const {
  const Logical& logical = get(name);
  if (logical.places.size() == 1) {
    return files_[logical.places.front().file].read(name, destination);
  }
  const FileDType dtype = tensors_[logical.index].dtype;
  if (dtype != file_dtype(destination.dtype())) {
    fail(folder_.string() + ": tensor " + base::in_quotes(name) + ": expected the dtype " +
         std::string(name_of(file_dtype(destination.dtype()))) + ", found " +
         std::string(name_of(dtype)));
  }
  read_converted(name, destination);
}

void LoadedCheckpoint::read_converted(std::string_view name,
                                      const device::Tensor& destination) const {
  check_shape(name, destination);
  read_elements(name, 0, destination.reshaped({destination.elements()}));
}

void LoadedCheckpoint::read_elements(std::string_view name, std::int64_t first,
                                     const device::Tensor& destination) const {
  const std::int64_t end = first + destination.elements();
  for (const Place& place : get(name).places) {
    const std::int64_t from = std::max(first, place.first);
    const std::int64_t to = std::min(end, place.first + place.tensor.elements());
    if (from >= to) continue;
    files_[place.file].read_elements(place.tensor, from - place.first,
                                     destination.rows(from - first, to - from));
  }
}

std::optional<LoadedCheckpoint> load_newest(const fs::path& run_folder, Verify verify,
                                            const std::function<bool(const Manifest&)>& wanted) {
  std::vector<std::string> warnings;
  bool some_valid = false;
  for (const fs::path& folder : step_folders(run_folder)) {
    try {
      LoadedCheckpoint checkpoint(folder, verify);
      some_valid = true;
      if (wanted && !wanted(checkpoint.manifest())) continue;
      checkpoint.warnings_ = std::move(warnings);
      return checkpoint;
    } catch (const base::Error& error) {
      if (error.kind() != base::ErrorKind::checkpoint) throw;
      warnings.push_back("passed over a damaged checkpoint: " + std::string(error.what()));
    }
  }
  if (warnings.empty() || some_valid) return std::nullopt;
  std::string reasons;
  for (const std::string& warning : warnings) reasons += "\n  " + warning;
  fail(checkpoints_folder(run_folder).string() +
       ": none of the checkpoints can be used, and training does not start afresh over them; move "
       "them away to do that" +
       reasons);
}

LoadedCheckpoint load(const fs::path& path, Verify verify) {
  std::error_code ignored;
  if (fs::exists(path / kManifestName, ignored)) return LoadedCheckpoint(path, verify);
  if (!fs::is_directory(path, ignored)) {
    fail(path.string() + ": expected a checkpoint's or a run's folder, found " +
         (fs::exists(path, ignored) ? "a file" : "nothing"));
  }
  std::optional<LoadedCheckpoint> newest = load_newest(path, verify);
  if (!newest) {
    const bool weights = fs::exists(path / hugging_face::kSingleFile, ignored) ||
                         fs::exists(path / hugging_face::kIndexFile, ignored);
    fail(path.string() + ": expected " + kManifestName +
         " of a checkpoint, or the folder checkpoints of a run, found " +
         (weights ? "a Hugging Face folder; ssmax import makes a run of it" : "neither"));
  }
  return std::move(*newest);
}

}  // namespace ssmax::checkpoint
