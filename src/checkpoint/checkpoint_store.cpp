#include "checkpoint/checkpoint_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <sstream>

#include "base/checked.h"
#include "base/durable_file.h"
#include "base/errors.h"
#include "base/format.h"
#include "comm/agreement.h"

namespace ssmax::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStepPrefix = "step_";
constexpr std::string_view kTrashPrefix = ".trash-";
constexpr std::string_view kTemporaryPart = ".tmp.";
constexpr char kProbeName[] = "probe.tmp.file";
constexpr char kLatestName[] = "latest";
// A manifest's config and window, and one step count per tensor.
constexpr std::int64_t kManifestBytes = 65536;
constexpr std::int64_t kManifestBytesPerTensor = 128;

[[noreturn]] void fail(const std::string& message) {
  throw base::Error(base::ErrorKind::disk, message);
}

std::vector<fs::path> entries(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> result;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    result.push_back(it->path());
  }
  // Without a listing nobody can say that there is no checkpoint.
  if (error && error != std::errc::no_such_file_or_directory) {
    fail("cannot list " + folder.string() + ": " + error.message());
  }
  return result;
}

/// Removes a folder that is no checkpoint any more; "" or what went wrong.
std::string remove_folder(const fs::path& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  return error ? "cannot remove " + folder.string() + ": " + error.message() +
                     "; remove it by hand to free its space"
               : "";
}

/// Out of sight first, so that a removal that is cut short leaves no half checkpoint.
std::string discard(const fs::path& folder) {
  const fs::path trash =
      folder.parent_path() /
      (std::string(kTrashPrefix) + folder.filename().string() + '.' + std::to_string(::getpid()));
  try {
    base::rename_durably(folder, trash);
  } catch (const base::Error& error) {
    return "cannot remove an old checkpoint: " + std::string(error.what());
  }
  return remove_folder(trash);
}

std::int64_t folder_bytes(const fs::path& folder) {
  std::int64_t bytes = 0;
  for (const fs::path& path : entries(folder)) {
    std::error_code error;
    const auto size = fs::file_size(path, error);
    if (!error) bytes += static_cast<std::int64_t>(size);
  }
  return bytes;
}

std::vector<WrittenFile> write_files(const fs::path& folder, const std::vector<TensorFile>& files) {
  std::vector<WrittenFile> written;
  for (const TensorFile& file : files) {
    written.push_back(
        write_safetensors(folder / file.name, file.tensors, fragment_metadata(file.tensors)));
  }
  return written;
}

/// Everyone's files, in the order of the ranks. A line each: bytes, hash, name.
std::vector<WrittenFile> gather_files(comm::Communicator& ranks,
                                      const std::vector<WrittenFile>& mine) {
  std::string lines;
  for (const WrittenFile& file : mine) {
    lines += std::to_string(file.bytes) + ' ' + file.xxh3_128 + ' ' + file.name + '\n';
  }
  std::vector<WrittenFile> all;
  for (const std::string& text : ranks.gather_texts(lines)) {
    std::istringstream in(text);
    WrittenFile file;
    while (in >> file.bytes >> file.xxh3_128 >> file.name) all.push_back(file);
  }
  return all;
}

void add(std::vector<std::string>& warnings, std::string warning) {
  if (!warning.empty()) warnings.push_back(std::move(warning));
}

}  // namespace

std::vector<TensorFile> tensor_files(std::vector<NamedTensor> model,
                                     std::vector<NamedTensor> optimizer) {
  std::vector<TensorFile> files;
  files.push_back({kModelFile, std::move(model)});
  if (!optimizer.empty()) files.push_back({kOptimizerFile, std::move(optimizer)});
  return files;
}

std::string optimizer_file_name(int rank, int ranks) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "optimizer-%05d-of-%05d.safetensors", rank, ranks);
  return text.data();
}

std::int64_t estimated_bytes(const std::vector<TensorFile>& files) {
  std::int64_t bytes = kManifestBytes;
  for (const TensorFile& file : files) {
    bytes += safetensors_bytes(file.tensors, fragment_metadata(file.tensors)) +
             kManifestBytesPerTensor * static_cast<std::int64_t>(file.tensors.size());
  }
  return bytes;
}

fs::path checkpoints_folder(const fs::path& run_folder) { return run_folder / "checkpoints"; }

std::string step_folder_name(std::int64_t step) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "step_%08lld", static_cast<long long>(step));
  return text.data();
}

std::int64_t step_of_folder_name(const std::string& name) {
  if (!name.starts_with(kStepPrefix)) return -1;
  std::int64_t step = -1;
  const char* end = name.data() + name.size();
  const auto [next, error] = std::from_chars(name.data() + kStepPrefix.size(), end, step);
  const bool whole = error == std::errc() && next == end && step >= 0;
  return whole && step_folder_name(step) == name ? step : -1;
}

void require_no_checkpoints(const fs::path& run_folder) {
  const std::vector<fs::path> found = step_folders(run_folder);
  if (found.empty()) return;
  throw base::Error(base::ErrorKind::usage, run_folder.string() + " holds checkpoints already (" +
                                                found.front().filename().string() +
                                                "); choose another folder or remove it");
}

std::vector<fs::path> step_folders(const fs::path& run_folder) {
  std::vector<fs::path> folders;
  for (const fs::path& path : entries(checkpoints_folder(run_folder))) {
    if (step_of_folder_name(path.filename().string()) >= 0) folders.push_back(path);
  }
  std::sort(folders.begin(), folders.end(), [](const fs::path& a, const fs::path& b) {
    return step_of_folder_name(a.filename().string()) > step_of_folder_name(b.filename().string());
  });
  return folders;
}

CheckpointStore::CheckpointStore(fs::path run_folder, std::int64_t keep)
    : run_folder_(std::move(run_folder)), folder_(checkpoints_folder(run_folder_)), keep_(keep) {
  if (keep < 2) {
    throw base::Error(base::ErrorKind::usage,
                      "checkpoint.keep: expected at least 2, found " + std::to_string(keep) +
                          "; a damaged checkpoint needs an older one to fall back to");
  }
}

std::vector<std::string> CheckpointStore::prepare(std::int64_t checkpoint_bytes) const {
  base::create_folders(folder_);
  std::vector<std::string> warnings;
  for (const fs::path& path : entries(folder_)) {
    const std::string name = path.filename().string();
    const bool ours =
        name.starts_with(kStepPrefix) || name.starts_with(kLatestName) || name == kProbeName;
    if (name.starts_with(kTrashPrefix) || (ours && name.find(kTemporaryPart) != name.npos)) {
      add(warnings, remove_folder(path));
    }
  }
  const fs::path probe = folder_ / kProbeName;
  base::DurableFile file(probe);
  file.write("can this folder be written?\n");
  file.commit();
  add(warnings, remove_folder(probe));

  const std::int64_t needed = base::checked_product(keep_ + 1, checkpoint_bytes);
  std::int64_t room = base::free_bytes(folder_);
  for (const fs::path& folder : step_folders(run_folder_)) room += folder_bytes(folder);
  if (room < needed) {
    fail(folder_.string() + ": " + std::to_string(keep_ + 1) + " checkpoints (checkpoint.keep + " +
         "1) of " + base::format_bytes(checkpoint_bytes) + " need " + base::format_bytes(needed) +
         ", " + base::format_bytes(room) + " are free; make room, choose another folder or lower " +
         "checkpoint.keep");
  }
  return warnings;
}

SaveReport CheckpointStore::save(Manifest manifest, const std::vector<TensorFile>& files,
                                 comm::Communicator& ranks) const {
  const std::string name = step_folder_name(manifest.step);
  // Rank 0's process id makes the name, so that what a dead run left is never taken for ours.
  const fs::path temporary =
      folder_ / ranks.broadcast(name + std::string(kTemporaryPart) + std::to_string(::getpid()));
  SaveReport report;
  report.folder = folder_ / name;
  try {
    comm::together(ranks, [&] {
      if (ranks.is_root()) base::create_folders(temporary);
    });
    std::vector<WrittenFile> written;
    comm::together(ranks, [&] { written = write_files(temporary, files); });
    manifest.files = gather_files(ranks, written);
    comm::together(ranks, [&] {
      if (ranks.is_root()) commit(temporary, manifest, report);
    });
  } catch (const base::Error& error) {
    if (ranks.is_root()) remove_folder(temporary);
    throw error.within("the checkpoint of step " + std::to_string(manifest.step) +
                       " was not saved, those before it stay");
  } catch (...) {
    if (ranks.is_root()) remove_folder(temporary);
    throw;
  }
  for (const WrittenFile& file : manifest.files) report.bytes += file.bytes;
  return report;
}

void CheckpointStore::commit(const fs::path& temporary, const Manifest& manifest,
                             SaveReport& report) const {
  const std::string text = to_text(manifest);
  base::DurableFile file(temporary / kManifestName, static_cast<std::int64_t>(text.size()));
  file.write(text);
  file.commit();
  base::sync_folder(temporary);
  if (put_in_place(temporary, report)) remove_old(manifest.step, report);
}

bool CheckpointStore::put_in_place(const fs::path& temporary, SaveReport& report) const {
  std::error_code ignored;
  try {
    if (fs::exists(report.folder, ignored)) {
      replace(temporary, report);
    } else {
      base::rename_durably(temporary, report.folder);
    }
  } catch (const base::Error& error) {
    // Renamed but not synced: complete, only not sure to outlive a power cut.
    if (fs::exists(temporary, ignored)) throw;
    report.warnings.push_back("old checkpoints stay for now: " + std::string(error.what()));
    return false;
  }
  try {
    base::write_file_atomically(folder_ / kLatestName, report.folder.filename().string() + '\n');
  } catch (const base::Error& error) {
    report.warnings.push_back(error.what());
  }
  return true;
}

void CheckpointStore::replace(const fs::path& temporary, SaveReport& report) const {
  // In one step where the file system can, so that the name never vanishes.
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, report.folder.c_str(), RENAME_EXCHANGE) ==
      0) {
    base::sync_folder(folder_);
    add(report.warnings, remove_folder(temporary));
    return;
  }
  const std::string warning = discard(report.folder);
  std::error_code ignored;
  if (fs::exists(report.folder, ignored)) fail(warning);
  add(report.warnings, warning);
  base::rename_durably(temporary, report.folder);
}

void CheckpointStore::remove_old(std::int64_t step, SaveReport& report) const {
  try {
    // Newer ones are damaged or of a run that went back; they count neither way.
    std::int64_t kept = 0;
    for (const fs::path& folder : step_folders(run_folder_)) {
      if (step_of_folder_name(folder.filename().string()) > step) continue;
      if (++kept > keep_) add(report.warnings, discard(folder));
    }
  } catch (const base::Error& error) {
    report.warnings.push_back(error.what());
  }
}

}  // namespace ssmax::checkpoint
