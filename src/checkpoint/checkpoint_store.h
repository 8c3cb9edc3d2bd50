#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "checkpoint/safetensors.h"
#include "comm/communicator.h"

/// Checkpoints of a run: RUN/checkpoints/step_00001000/{manifest.json, model.safetensors,
/// optimizer.safetensors} and RUN/checkpoints/latest, a hint for people.
namespace ssmax::checkpoint {

inline constexpr char kModelFile[] = "model.safetensors";
inline constexpr char kOptimizerFile[] = "optimizer.safetensors";

/// The tensors of one file of a checkpoint.
struct TensorFile {
  std::string name;
  std::vector<NamedTensor> tensors;
};

/// model.safetensors and, unless `optimizer` is empty, optimizer.safetensors.
std::vector<TensorFile> tensor_files(std::vector<NamedTensor> model,
                                     std::vector<NamedTensor> optimizer = {});

/// "optimizer-00001-of-00004.safetensors": the file of one rank of a sharded optimizer.
std::string optimizer_file_name(int rank, int ranks);

/// Bytes that one checkpoint of these files takes on disk; an upper bound of its manifest included.
std::int64_t estimated_bytes(const std::vector<TensorFile>& files);

/// What a save did.
struct SaveReport {
  std::filesystem::path folder;
  std::int64_t bytes = 0;
  std::vector<std::string> warnings;  ///< what went wrong after the checkpoint was safe
};

/// The folder of a checkpoint within a run: RUN/checkpoints/step_00001000.
std::filesystem::path checkpoints_folder(const std::filesystem::path& run_folder);
std::string step_folder_name(std::int64_t step);
/// The step of a folder's name; -1 when it is no name of a complete checkpoint.
std::int64_t step_of_folder_name(const std::string& name);

/// The step folders of a run, newest first; empty when there are none.
std::vector<std::filesystem::path> step_folders(const std::filesystem::path& run_folder);

/// Error(usage) where a folder holds checkpoints: for what makes a run of its own there.
void require_no_checkpoints(const std::filesystem::path& run_folder);

/// Writes the checkpoints of one run. The caller, or rank 0 of several, holds the run's lock.
class CheckpointStore {
 public:
  /// Keeps the `keep` newest checkpoints, at least 2: the older one is what a damaged one falls
  /// back to. Touches nothing yet.
  CheckpointStore(std::filesystem::path run_folder, std::int64_t keep);

  /// Makes the folder, removes what dead runs left (step_*.tmp.*, .trash-*), checks that a file can
  /// be written and that (keep + 1) checkpoints of `checkpoint_bytes` fit. Those that are there
  /// already count as free. Error(disk) names the folder, needed and free bytes and
  /// checkpoint.keep. Returns warnings.
  std::vector<std::string> prepare(std::int64_t checkpoint_bytes) const;

  /// Writes the checkpoint of manifest.step; `files` of the manifest are filled in. The folder
  /// appears under its name complete or not at all; one of the same step is replaced. After that
  /// old ones are removed; what fails then is a warning. Error(disk) names path, needed and free
  /// bytes, and nothing of this save is left.
  ///
  /// Of several ranks each gives the files that it writes, none of the same name; rank 0 makes the
  /// folder, and writes the manifest once everyone's files are on the disk. The report, or the
  /// error of the rank that failed, is the same on all.
  SaveReport save(Manifest manifest, const std::vector<TensorFile>& files,
                  comm::Communicator& ranks = comm::solo()) const;

 private:
  void commit(const std::filesystem::path& temporary, const Manifest& manifest,
              SaveReport& report) const;
  /// False when the new name may not be on the disk yet.
  bool put_in_place(const std::filesystem::path& temporary, SaveReport& report) const;
  void replace(const std::filesystem::path& temporary, SaveReport& report) const;
  void remove_old(std::int64_t step, SaveReport& report) const;

  std::filesystem::path run_folder_;
  std::filesystem::path folder_;
  std::int64_t keep_;
};

}  // namespace ssmax::checkpoint
