#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/errors.h"
#include "checkpoint/checkpoint_store.h"

namespace ssmax::checkpoint {

/// How one save ended: a report, or the error that left the previous checkpoint as the newest.
struct SaveOutcome {
  std::int64_t step = 0;
  std::optional<SaveReport> report;
  std::optional<base::Error> error;
  double seconds = 0.0;  ///< of writing, the snapshot not counted
};

/// Saves from a snapshot in a thread of its own, so that training goes on; one at a time.
class BackgroundSaver {
 public:
  /// `store` and `ranks`, a communicator for the writing thread alone, must outlive the saver.
  explicit BackgroundSaver(const CheckpointStore& store, comm::Communicator& ranks = comm::solo());
  /// Waits for the save in flight; outcomes that nobody asked for are lost, so call wait() first.
  ~BackgroundSaver();
  BackgroundSaver(const BackgroundSaver&) = delete;
  BackgroundSaver& operator=(const BackgroundSaver&) = delete;

  /// Makes room for a snapshot of these tensors now rather than at the first save. Error(device)
  /// when memory is short.
  void reserve(const std::vector<TensorFile>& files);

  /// Waits for the save in flight, copies the tensors and returns while they are written. Work on
  /// the tensors that is still queued on a stream must be done.
  void start(Manifest manifest, const std::vector<TensorFile>& files);

  /// Outcomes since the last call, oldest first; never waits, never throws for a failed save.
  std::vector<SaveOutcome> poll();
  /// Waits for the save in flight, then poll().
  std::vector<SaveOutcome> wait();

  /// Bytes of the snapshot that these tensors need, for the memory plan.
  static std::int64_t snapshot_bytes(const std::vector<TensorFile>& files);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ssmax::checkpoint
