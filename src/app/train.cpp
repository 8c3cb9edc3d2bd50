#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "app/command.h"
#include "app/exit_code.h"
#include "base/format.h"
#include "base/log.h"
#include "checkpoint/checkpoint_store.h"
#include "comm/agreement.h"
#include "comm/launch.h"
#include "device/core_watch.h"
#include "device/gpus.h"
#include "device/parallel.h"
#include "kernels/linear/matmul_limit.h"
#include "train/trainer.h"

namespace ssmax::app {

namespace {

struct TrainOptions {
  std::string config;
  std::string out;
  bool dry_run = false;
  bool print_config = false;
};

/// Share of the matmul limit that a step is assumed to reach in the estimate of a dry run.
constexpr double kAssumedShare = 0.5;

void dry_run(const train::RunConfig& given, const train::Place& place) {
  const bool in_epochs = given.training.epochs > 0 || given.schedule.warmup_epochs > 0;
  const train::RunConfig config =
      in_epochs ? given.with_epochs(train::training_samples(given)) : given;
  const train::MemoryPlan plan = train::choose_micro_batch(config, place);
  const model::FlopCount flops = model::count_flops(config.model, config.data.sequence_length);
  const double per_step =
      flops.training_per_token() * static_cast<double>(config.tokens_per_step());
  device::Stream stream(place.device);
  const double limit = kernels::measured_matmul_limit(stream, config.matmul_dtype());
  const double step_seconds = per_step / (kAssumedShare * limit * place.ranks);
  const auto steps = static_cast<double>(config.training.steps);
  std::cout << "device\n  " << device::describe(stream.device()) << "\nmemory"
            << (place.ranks > 1 ? " of rank 0" : "") << ", micro-batches of " << plan.micro_batch
            << " sequences\n"
            << plan.table() << "work\n  "
            << base::format_count(static_cast<double>(config.tokens_per_step()))
            << " tokens a step, " << base::format_count(flops.training_per_token())
            << "FLOP a token\n  matmul limit of this machine " << base::format_count(limit)
            << "FLOP/s; at " << 100 * kAssumedShare << " % of it\n  a step takes "
            << base::format_duration(step_seconds) << ", " << config.training.steps << " steps "
            << base::format_duration(step_seconds * steps) << '\n';
}

/// Cores and threads of this rank, and a line about how the ranks came together.
void settle(comm::Communicator& ranks, const comm::Launch& launch, std::int64_t threads) {
  if (ranks.size() == 1) {
    device::set_cpu_threads(static_cast<int>(threads));
    return;
  }
  const comm::CoreShare share = comm::bind_to_share(ranks);
  device::set_cpu_threads(threads > 0 ? static_cast<int>(threads) : share.threads());
  const std::string name = "rank " + std::to_string(ranks.rank());
  base::set_log_prefix(ranks.is_root() ? "" : name + ": ");
  const std::vector<std::string> all = ranks.gather_texts(
      threads > 0 ? std::to_string(threads) + (threads == 1 ? " thread" : " threads") +
                        ", as training.threads says"
                  : share.text() + (share.bound ? ", bound here" : ", as the launcher bound it"));
  if (ranks.is_root()) {
    std::string lines = std::to_string(ranks.size()) + " ranks through " +
                        std::string(ranks.transport()) + ", started by " + launch.text;
    for (int rank = 0; rank < ranks.size(); ++rank) {
      lines += "\n  " + ranks.rank_text(rank) + ": " + all[static_cast<std::size_t>(rank)];
    }
    base::log_info(lines);
  }
}

void train_on(comm::Communicator& ranks, const comm::Launch& launch, const CLI::App& command,
              const TrainOptions& options) {
  train::RunConfig config;
  comm::together(ranks, [&] {
    config = base::load_config<train::RunConfig>(options.config, overrides_of(command));
  });
  if (options.print_config) {
    if (ranks.is_root()) std::cout << base::config_text(config.resolved());
    return;
  }
  const std::filesystem::path folder = options.out.empty()
                                           ? std::filesystem::path("runs") / config.name
                                           : std::filesystem::path(options.out);
  comm::together(ranks, [&] { config = train::with_start_model(config, folder).resolved(); });
  settle(ranks, launch, config.training.threads);
  if (options.dry_run) {
    const train::Seating seating = train::find_seats(config, ranks);
    comm::together(ranks, [&] {
      if (ranks.is_root()) dry_run(config, seating.place);
    });
    return;
  }
  comm::together(ranks, [&] {
    if (ranks.is_root() && checkpoint::step_folders(folder).empty()) {
      train::require_no_other_config(folder);
    }
  });
  const train::StopSignals signals(exit_code(base::ErrorKind::stopped));
  const device::CoreWatch cores;
  // A thread that hangs cannot be unwound, so the process ends here.
  train::Watchdog watchdog(ranks.rank(), [](const base::Error& error) {
    std::fprintf(stderr, "ssmax: %s\n", error.what());
    _exit(exit_code(error.kind()));
  });
  train::Trainer trainer(config, folder, ranks);
  try {
    trainer.run(signals, watchdog);
  } catch (const base::Error& error) {
    base::log_to_file(
        error.kind() == base::ErrorKind::stopped ? base::LogLevel::info : base::LogLevel::error,
        error.what());
    throw;
  }
}

/// A rank that fails alone ends without a word to the others, who may wait for it anywhere; its
/// launcher ends them, or their patience does.
[[noreturn]] void leave(const comm::Communicator& ranks, const char* message, int code) {
  std::fprintf(stderr, "ssmax: %s: %s\n", ranks.rank_text(ranks.rank()).c_str(), message);
  _exit(code);
}

void run_train(const CLI::App& command, const TrainOptions& options) {
  const comm::Launch launch = comm::detect_launch();
  if (launch.size == 1) return train_on(comm::solo(), launch, command, options);
  train::die_with_parent();
  const std::unique_ptr<comm::Communicator> ranks = comm::open(launch);
  try {
    train_on(*ranks, launch, command, options);
    ranks->finish();
  } catch (const comm::SharedError& error) {
    // Rank 0 says it for all, and before one of them can leave: then a launcher may end the rest.
    if (ranks->is_root()) std::fprintf(stderr, "ssmax: %s\n", error.what());
    ranks->finish();
    std::exit(exit_code(error.kind()));
  } catch (const base::Error& error) {
    leave(*ranks, error.what(), exit_code(error.kind()));
  } catch (const std::bad_alloc&) {
    leave(*ranks, "out of memory", exit_code(base::ErrorKind::device));
  } catch (const std::exception& error) {
    leave(*ranks, error.what(), 1);
  }
}

}  // namespace

void add_train(CLI::App& program) {
  auto* command = program.add_subcommand("train", "Start a run, or go on with it");
  command->footer(
      "The same command line starts a run and resumes it after any interruption: the newest valid\n"
      "checkpoint of the run's folder decides. Ctrl-C, SIGTERM and SIGUSR1 save and exit with 75.\n"
      "Several processes train one model, by mpirun, srun or torchrun, with the same config:\n"
      "mpirun -np 4 ssmax train ...\n"
      "Any key of the config can be overridden: --training.steps=100 "
      "--model.normalizer.kind=ssmax\n"
      "\n"
      "Example:  ssmax train configs/mini/b_ssmax.json --out runs/b --seed=2\n"
      "Keys:     ssmax config --explain");
  command->allow_extras();
  auto options = std::make_shared<TrainOptions>();
  command->add_option("CONFIG", options->config, "The run as a JSON file")->required();
  command->add_option("--out", options->out, "Folder of the run; default runs/NAME");
  command->add_flag("--dry-run", options->dry_run,
                    "Only show what memory and time the run would take");
  command->add_flag("--print-config", options->print_config, "Only show the resolved config");
  command->callback([command, options] { run_train(*command, *options); });
}

}  // namespace ssmax::app
