#include "checkpoint/background_saver.h"

#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>

#include "base/checked.h"
#include "base/clock.h"
#include "device/arena.h"
#include "device/stream.h"

namespace ssmax::checkpoint {
namespace {

// Every copy starts on a cache line of its own.
constexpr std::int64_t kAlignment = 64;

std::int64_t padded_bytes(const device::ConstTensor& tensor) {
  return base::div_up(tensor.bytes(), kAlignment) * kAlignment;
}

struct Job {
  Manifest manifest;
  std::vector<TensorFile> files;
};

}  // namespace

/// `job` and `outcomes` belong to the mutex; the snapshot belongs to the writer while it is busy
/// and to the caller otherwise.
struct BackgroundSaver::State {
  State(const CheckpointStore& to, comm::Communicator& by) : store(to), ranks(by) {}

  const CheckpointStore& store;
  comm::Communicator& ranks;
  device::Arena arena;
  device::Tensor snapshot;  // f32 units, whatever they hold

  std::mutex mutex;
  std::condition_variable changed;
  std::optional<Job> job;
  bool busy = false;
  bool stopping = false;
  std::vector<SaveOutcome> outcomes;
  std::thread writer;

  void run();
  void wait_until_idle(std::unique_lock<std::mutex>& lock) {
    changed.wait(lock, [this] { return !busy; });
  }
  void make_room(std::int64_t bytes);
  std::vector<TensorFile> copy(const std::vector<TensorFile>& files);
};

namespace {

SaveOutcome save_now(const CheckpointStore& store, comm::Communicator& ranks, Job job) {
  const base::Stopwatch watch;
  SaveOutcome outcome;
  outcome.step = job.manifest.step;
  try {
    outcome.report = store.save(std::move(job.manifest), job.files, ranks);
  } catch (const base::Error& error) {
    outcome.error = error;
  } catch (const std::exception& error) {
    // A mistake of ours or no memory: never the end of a training run.
    outcome.error = base::Error(base::ErrorKind::checkpoint, error.what());
  }
  outcome.seconds = watch.seconds();
  return outcome;
}

}  // namespace

void BackgroundSaver::State::run() {
  std::unique_lock lock(mutex);
  while (true) {
    changed.wait(lock, [this] { return job || stopping; });
    if (!job) return;
    Job taken = std::move(*job);
    job.reset();
    lock.unlock();
    SaveOutcome outcome = save_now(store, ranks, std::move(taken));
    lock.lock();
    outcomes.push_back(std::move(outcome));
    busy = false;
    changed.notify_all();
  }
}

void BackgroundSaver::State::make_room(std::int64_t bytes) {
  if (snapshot.bytes() >= bytes) return;
  snapshot = {};
  arena = device::Arena();
  snapshot = arena.allocate("checkpoint snapshot", device::DType::f32,
                            {bytes / device::size_of(device::DType::f32)});
}

std::vector<TensorFile> BackgroundSaver::State::copy(const std::vector<TensorFile>& files) {
  make_room(snapshot_bytes(files));
  auto* next = static_cast<std::byte*>(snapshot.raw());
  std::vector<TensorFile> copies;
  for (const TensorFile& file : files) {
    TensorFile& copied = copies.emplace_back();
    copied.name = file.name;
    for (const NamedTensor& named : file.tensors) {
      const device::Tensor to(next, named.tensor.dtype(), named.tensor.shape());
      device::Stream stream(named.tensor.device());
      device::copy(stream, to, named.tensor);
      stream.synchronize();
      copied.tensors.push_back({named.name, to, named.fragment});
      next += padded_bytes(named.tensor);
    }
  }
  return copies;
}

BackgroundSaver::BackgroundSaver(const CheckpointStore& store, comm::Communicator& ranks)
    : state_(std::make_unique<State>(store, ranks)) {
  state_->writer = std::thread([state = state_.get()] { state->run(); });
}

BackgroundSaver::~BackgroundSaver() {
  {
    std::unique_lock lock(state_->mutex);
    state_->wait_until_idle(lock);
    state_->stopping = true;
    state_->changed.notify_all();
  }
  state_->writer.join();
}

void BackgroundSaver::reserve(const std::vector<TensorFile>& files) {
  std::unique_lock lock(state_->mutex);
  state_->wait_until_idle(lock);
  state_->make_room(snapshot_bytes(files));
}

void BackgroundSaver::start(Manifest manifest, const std::vector<TensorFile>& files) {
  std::unique_lock lock(state_->mutex);
  state_->wait_until_idle(lock);
  state_->job = Job{std::move(manifest), state_->copy(files)};
  state_->busy = true;
  state_->changed.notify_all();
}

std::vector<SaveOutcome> BackgroundSaver::poll() {
  const std::lock_guard lock(state_->mutex);
  return std::exchange(state_->outcomes, {});
}

std::vector<SaveOutcome> BackgroundSaver::wait() {
  std::unique_lock lock(state_->mutex);
  state_->wait_until_idle(lock);
  return std::exchange(state_->outcomes, {});
}

std::int64_t BackgroundSaver::snapshot_bytes(const std::vector<TensorFile>& files) {
  std::int64_t bytes = 0;
  for (const TensorFile& file : files) {
    for (const NamedTensor& named : file.tensors) bytes += padded_bytes(named.tensor);
  }
  return bytes;
}

}  // namespace ssmax::checkpoint
