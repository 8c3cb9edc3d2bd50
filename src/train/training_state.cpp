#include "train/training_state.h"

#include <algorithm>
#include <numeric>

#include "base/checked.h"
#include "base/format.h"
#include "checkpoint/background_saver.h"
#include "checkpoint/match.h"
#include "device/gpu_memory.h"
#include "device/parallel.h"

namespace ssmax::train {

namespace {

/// Rows beyond which larger matmuls are no faster on the CPU.
constexpr std::int64_t kEnoughRows = 4096;
/// Code, libraries, thread stacks and the scratch of the matmuls: what a run of a tiny model takes.
constexpr std::int64_t kProgramBytes = std::int64_t{16} << 20;
/// The same on a GPU: some hundred tiles for every multiprocessor.
constexpr std::int64_t kEnoughRowsOnGpu = 65536;
/// Of a GPU's memory, left free: kernels that load at first use, the library of matmuls, and the up
/// to 2 MiB by which the driver rounds each of some hundred allocations up.
constexpr std::int64_t kGpuReserve = std::int64_t{1} << 30;
/// What NCCL takes for its channels on a machine with eight GPUs.
constexpr std::int64_t kNcclBytes = std::int64_t{512} << 20;
constexpr double kUsableShare = 0.8;

model::ActivationOptions activation_options(const RunConfig& config, std::int64_t micro_batch) {
  model::ActivationOptions options;
  options.batch = micro_batch;
  options.length = config.data.sequence_length;
  options.dtype = config.activation_dtype();
  options.purpose = model::Purpose::training;
  options.recompute = config.training.recompute;
  return options;
}

params::Storage storage_of(const RunConfig& config, const Place& place) {
  params::Storage storage(params::Gradients::allocate);
  storage.rank = place.rank;
  storage.ranks = place.ranks;
  if (config.parallel.shard_optimizer && place.ranks > 1) {
    storage.optimizer = params::OptimizerState::sharded;
  }
  return storage;
}

std::int64_t snapshot_bytes(const TrainingState& state) {
  return checkpoint::BackgroundSaver::snapshot_bytes(state.checkpoint_files());
}

/// This rank's part of what is free.
std::int64_t available_bytes(const Place& place) {
  return device::available_bytes(place.device) /
         (place.is_on_gpu() ? place.device_ranks : place.local_ranks);
}

/// What a micro-batch that is chosen here may take of it.
std::int64_t usable_bytes(const Place& place) {
  const std::int64_t available = available_bytes(place);
  if (place.is_on_gpu()) return std::max<std::int64_t>(0, available - kGpuReserve);
  return static_cast<std::int64_t>(kUsableShare * static_cast<double>(available));
}

/// Two communicators move tensors: that of gradients, and where rank 0 collects weights the main.
std::int64_t message_bytes(const TrainingState& state, const Place& place) {
  const int channels = state.model.parameters().has_partial_master() ? 2 : 1;
  return channels * comm::buffer_bytes(place.ranks);
}

/// Of a rank that may come to use NCCL: its own memory, and what gradients are narrowed into.
std::int64_t nccl_bytes(const RunConfig& config, const Place& place,
                        const params::ParameterSet& set) {
  if (place.ranks == 1 || place.device_ranks > 1 ||
      config.parallel.transport == comm::Transport::host) {
    return 0;
  }
  std::int64_t narrow = 0;
  for (int section = 0; section < set.sections(); ++section) {
    narrow = std::max(narrow, set.section(section).count() * size_of(device::DType::bf16));
  }
  return kNcclBytes + (config.parallel.reduction == comm::Wire::bf16 ? narrow : 0);
}

/// What a run on a GPU takes beside its arena. The workspace serves one op after the other; those
/// that are not asked take less than a matmul: embedding_backward 8 bytes a row, norms up to 4 KiB
/// a channel.
void add_gpu_parts(MemoryPlan& plan, const TrainingState& state, const RunConfig& config,
                   const Place& place) {
  const std::int64_t workspace = std::max(state.model.linear_workspace_bytes(state.activations),
                                          state.model.attention_workspace_bytes(state.activations));
  plan.allocations.push_back(
      {"workspace of matmuls and attention",
       base::div_up(workspace, device::kWorkspaceUnit) * device::kWorkspaceUnit});
  if (const std::int64_t bytes = nccl_bytes(config, place, state.model.parameters()); bytes > 0) {
    plan.allocations.push_back({"NCCL", bytes});
  }
  plan.host = state.host_arena.report();
  plan.host.push_back({"snapshot for background saves", snapshot_bytes(state)});
  if (const std::int64_t bytes = message_bytes(state, place); bytes > 0) {
    plan.host.push_back({"messages between ranks", bytes});
  }
  plan.host.push_back({"copies to and from the GPU", device::kStagingBytes});
}

std::string advice(const RunConfig& config) {
  return config.training.recompute == model::Recompute::none
             ? "use training.recompute=block, or a shorter data.sequence_length"
             : "use a shorter data.sequence_length or a smaller model";
}

/// The plan of a micro-batch that the config names.
MemoryPlan fitting_plan(const RunConfig& config, std::int64_t micro_batch, const Place& place) {
  MemoryPlan plan = plan_memory(config, micro_batch, place);
  const std::int64_t available = available_bytes(place);
  if (plan.bytes() <= available) return plan;
  throw base::Error(base::ErrorKind::device,
                    "out of memory: training.micro_batch_sequences=" + std::to_string(micro_batch) +
                        " needs " + base::format_bytes(plan.bytes()) + ", " +
                        (place.is_on_gpu() ? "the GPU has " : "free are ") +
                        base::format_bytes(available) +
                        "; lower it, leave it out for the largest that fits, or " + advice(config));
}

}  // namespace

TrainingState::TrainingState(const RunConfig& config, std::int64_t micro_batch, const Place& place,
                             device::Arena& arena)
    : host_arena({}, arena.planning() ? device::ArenaMode::plan : device::ArenaMode::allocate),
      model(config.model, config.activation_dtype(), storage_of(config, place), arena),
      activations(config.model, model.attention_row_values(),
                  activation_options(config, micro_batch), arena),
      optimizer(model.parameters(), config.optimizer, arena),
      batch(micro_batch, config.data.sequence_length, arena),
      loss_total(arena.allocate("losses", device::DType::f64, {2})),
      validation(model, activations, arena) {
  const params::ParameterSet& set = model.parameters();
  if (!set.has_partial_master() || place.rank != 0) return;
  device::Arena& on_host = arena.device() == host_arena.device() ? arena : host_arena;
  gathered_master = on_host.allocate("weights gathered for checkpoints", set.flat_master().dtype(),
                                     {set.flat_elements()});
}

std::vector<checkpoint::TensorFile> TrainingState::checkpoint_files() const {
  const params::ParameterSet& set = model.parameters();
  const params::Storage& storage = set.storage();
  const bool sharded = storage.optimizer == params::OptimizerState::sharded;
  std::vector<checkpoint::TensorFile> files;
  if (storage.rank == 0) {
    files.push_back({checkpoint::kModelFile, set.has_partial_master()
                                                 ? checkpoint::model_tensors(set, gathered_master)
                                                 : checkpoint::model_tensors(set)});
  }
  if (storage.rank == 0 || sharded) {
    files.push_back({sharded ? checkpoint::optimizer_file_name(storage.rank, storage.ranks)
                             : std::string(checkpoint::kOptimizerFile),
                     checkpoint::moment_tensors(set, optimizer.flat_first_moment(),
                                                optimizer.flat_second_moment())});
  }
  return files;
}

void TrainingState::gather_master(device::Stream& stream, comm::Communicator& ranks) const {
  const params::ParameterSet& set = model.parameters();
  if (!set.has_partial_master()) return;
  std::int64_t offset = 0;
  for (int section = 0; section < set.sections(); ++section) {
    const params::ElementRange range = set.section(section);
    const std::int64_t part = range.count() / ranks.size();
    const device::Tensor whole =
        ranks.is_root() ? gathered_master.rows(range.begin, range.count()) : device::Tensor();
    ranks.collect(stream, whole, set.flat_master().rows(offset, part));
    offset += part;
  }
}

std::int64_t MemoryPlan::bytes() const {
  return std::accumulate(allocations.begin(), allocations.end(), std::int64_t{0},
                         [](std::int64_t sum, const auto& entry) { return sum + entry.bytes; });
}

std::string MemoryPlan::table() const {
  std::size_t width = 0;
  for (const auto* list : {&allocations, &host}) {
    for (const auto& entry : *list) width = std::max(width, entry.label.size());
  }
  std::string text;
  const auto line = [&](const std::string& label, std::int64_t size) {
    std::string amount = base::format_bytes(size);
    text += "  " + label + std::string(width + 2 - label.size(), ' ') +
            std::string(amount.size() < 10 ? 10 - amount.size() : 0, ' ') + amount + '\n';
  };
  for (const auto& entry : allocations) line(entry.label, entry.bytes);
  line("total", bytes());
  if (!host.empty()) text += "of the host's memory\n";
  for (const auto& entry : host) line(entry.label, entry.bytes);
  return text;
}

MemoryPlan plan_memory(const RunConfig& config, std::int64_t micro_batch, const Place& place) {
  device::Arena arena(place.device, device::ArenaMode::plan);
  const TrainingState state(config, micro_batch, place, arena);
  MemoryPlan plan;
  plan.micro_batch = micro_batch;
  plan.allocations = arena.report();
  if (place.is_on_gpu()) {
    add_gpu_parts(plan, state, config, place);
    return plan;
  }
  if (const std::int64_t bytes = snapshot_bytes(state); bytes > 0) {
    plan.allocations.push_back({"snapshot for background saves", bytes});
  }
  if (const std::int64_t bytes = message_bytes(state, place); bytes > 0) {
    plan.allocations.push_back({"messages between ranks", bytes});
  }
  plan.allocations.push_back(
      {"attention scratch of threads",
       device::cpu_threads() * state.model.attention_workspace_bytes(state.activations)});
  if (const auto bytes = state.model.linear_workspace_bytes(state.activations); bytes > 0) {
    plan.allocations.push_back({"f32 copies for bf16 matmuls", bytes});
  }
  plan.allocations.push_back({"program and libraries", kProgramBytes});
  return plan;
}

MemoryPlan choose_micro_batch(const RunConfig& config, const Place& place, std::int64_t former) {
  const TrainingConfig& training = config.training;
  if (training.batch_sequences % place.ranks != 0) {
    throw base::Error(base::ErrorKind::usage,
                      "training.batch_sequences: expected a multiple of the number of ranks (" +
                          std::to_string(place.ranks) + "), found " +
                          std::to_string(training.batch_sequences));
  }
  const std::int64_t batch = training.batch_sequences / place.ranks;
  if (const std::int64_t micro_batch = training.micro_batch_sequences; micro_batch != 0) {
    if (batch % micro_batch == 0) return fitting_plan(config, micro_batch, place);
    throw base::Error(base::ErrorKind::usage,
                      "training.micro_batch_sequences: expected a divisor of the " +
                          std::to_string(batch) + " sequences of each of " +
                          std::to_string(place.ranks) + " ranks, found " +
                          std::to_string(micro_batch));
  }
  if (former > 0 && batch % former == 0) {
    MemoryPlan plan = plan_memory(config, former, place);
    if (plan.bytes() <= available_bytes(place)) return plan;
  }
  const std::int64_t usable = usable_bytes(place);
  const std::int64_t most =
      std::clamp((place.is_on_gpu() ? kEnoughRowsOnGpu : kEnoughRows) / config.data.sequence_length,
                 std::int64_t{1}, batch);
  for (std::int64_t micro_batch = most; micro_batch >= 1; --micro_batch) {
    if (batch % micro_batch != 0) continue;
    MemoryPlan plan = plan_memory(config, micro_batch, place);
    if (plan.bytes() <= usable) return plan;
  }
  throw base::Error(base::ErrorKind::device,
                    "out of memory: one sequence needs " +
                        base::format_bytes(plan_memory(config, 1, place).bytes()) +
                        ", usable are " + base::format_bytes(usable) + "; " + advice(config));
}

}  // namespace ssmax::train
