#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/background_saver.h"
#include "checkpoint/load.h"
#include "comm/communicator.h"
#include "train/place.h"
#include "train/run_folder.h"

namespace ssmax::train {

// Keys of a manifest's state.
inline constexpr char kSkips[] = "spike_guard.skips";
inline constexpr char kMicroBatch[] = "micro_batch_sequences";
inline constexpr char kOnGpu[] = "on_gpu";

/// The checkpoints of a run: found at its start, written in the background, told in its log. Every
/// call but report() and wait() is collective.
class RunCheckpoints {
 public:
  /// `folder` and `ranks` must outlive it. The thread that writes has a communicator of its own, in
  /// which a rank may be silent for `timeout_seconds`.
  RunCheckpoints(const RunFolder& folder, std::int64_t keep, comm::Communicator& ranks,
                 double timeout_seconds);

  /// Takes the memory of a snapshot of `files`, this rank's, and sees that the disk has room for
  /// those of all ranks. Error(disk), Error(device).
  void prepare(const std::vector<checkpoint::TensorFile>& files);

  /// The newest valid one, which rank 0 verifies and the others open; nothing when there is none.
  std::optional<checkpoint::LoadedCheckpoint> newest();
  /// The newest that was not written between refused steps, whose weights those steps refuse.
  std::optional<checkpoint::LoadedCheckpoint> newest_accepted();
  /// Sequences of a micro-batch when the newest was written, in a run as this one: as many ranks, a
  /// GPU or none, the same batch and length. 0 = there is none, or it does not say.
  std::int64_t micro_batch(const RunConfig& config, const Place& place);
  /// The same of one that a user names, see checkpoint::load; nothing when `path` is empty.
  std::optional<checkpoint::LoadedCheckpoint> load(const std::string& path);

  /// Takes a snapshot and returns while it is written. Work on the tensors must be done.
  void save(checkpoint::Manifest manifest, const std::vector<checkpoint::TensorFile>& files);
  /// Logs how the saves since the last call have ended.
  void report();
  /// The same once the save in flight has ended.
  void wait();
  /// wait() for the last one, which must be on the disk: SharedError when it is not.
  void finish();

 private:
  std::optional<checkpoint::LoadedCheckpoint> open_on_all(
      const std::function<std::optional<checkpoint::LoadedCheckpoint>()>& look);
  void report(const std::vector<checkpoint::SaveOutcome>& outcomes) const;

  const RunFolder& folder_;
  comm::Communicator& ranks_;
  std::unique_ptr<comm::Communicator> saver_ranks_;
  checkpoint::CheckpointStore store_;
  checkpoint::BackgroundSaver saver_;
};

}  // namespace ssmax::train
